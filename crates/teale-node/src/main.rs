//! The `teale-node` program.

fn main() -> std::process::ExitCode {
    teale_node::cli::run()
}
