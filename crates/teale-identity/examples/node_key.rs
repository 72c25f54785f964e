//! Loads the key file at a path (or creates it), prints the node's public names, signs and checks a registration.

#![allow(clippy::print_stdout)]

use std::{error::Error, path::PathBuf};

use teale_identity::{Identity, default_key_path, signed};

fn main() -> Result<(), Box<dyn Error>> {
    let path = match std::env::args_os().nth(1) {
        Some(path) => PathBuf::from(path),
        None => {
            println!("usage: node_key PATH   (a node's own key is at {})", default_key_path()?.display());
            return Ok(());
        }
    };
    let me = Identity::load_or_create(&path)?;
    println!("node id      {}", me.node_id());
    println!("wgPublicKey  {}", me.x25519_public());

    let signature = signed::register_signature(&me);
    signed::verify_register(me.node_id(), &signature)?;
    println!("register     {signature}");
    Ok(())
}
