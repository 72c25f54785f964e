//! `teale-node identity show`.

use clap::{Args, Subcommand};
use serde_json::json;
use teale_identity::KeyFile;

use super::{failure::Failure, global::Context};

/// See the subcommands.
#[derive(Debug, Args)]
pub(super) struct IdentityVerb {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The node's id, its public keys and where its secret one is kept.
    Show,
}

impl IdentityVerb {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let What::Show = self.what;
        let path = context.data_dir().identity();
        if !path.exists() {
            return Err(Failure::new(format!(
                "there is no identity in {} yet",
                context.data_dir().path().display()
            ))
            .hint("`teale-node serve` makes one at its first start"));
        }
        let identity = KeyFile::new(&path).load().map_err(|error| Failure::new(error.to_string()))?;
        let (node, wg) = (identity.node_id(), identity.x25519_public().to_hex());
        let text =
            || format!("node           {node}\nwg public key  {wg}\nkey file       {}", path.display());
        Ok(context.output.document(&json!({ "node": node, "wg_public_key": wg, "key_file": path }), text)?)
    }
}
