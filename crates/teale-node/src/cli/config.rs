//! `teale-node config show|path|check`.

use clap::{Args, Subcommand};
use serde_json::json;
use toml::Table;

use super::{
    failure::Failure,
    global::{Context, GlobalFlags},
};
use crate::{
    config::unknown_variables,
    config_file,
    output::{Output, plain, table},
    user_config_file,
};

/// See the subcommands.
#[derive(Debug, Args)]
pub(super) struct ConfigVerb {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every setting, its value, and where it comes from.
    Show,
    /// The configuration file that is read, or would be.
    Path,
    /// Whether the settings make sense.
    Check,
}

impl ConfigVerb {
    pub(super) fn run(&self, flags: GlobalFlags) -> Result<(), Failure> {
        match self.what {
            What::Show => show(&Context::new(flags, Table::new())?),
            What::Path => path(&flags),
            What::Check => check(&Context::new(flags, Table::new())?),
        }
    }
}

fn show(context: &Context) -> Result<(), Failure> {
    let rows = &context.resolved.rows;
    let text = || {
        let cells =
            rows.iter().map(|row| vec![row.key.to_owned(), plain(&value(&row.value)), row.source.clone()]);
        table(&["SETTING", "VALUE", "FROM"], &cells.collect::<Vec<_>>())
    };
    Ok(context.output.document(rows, text)?)
}

fn value(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "-".into(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn path(flags: &GlobalFlags) -> Result<(), Failure> {
    let path = flags.config.clone().or_else(config_file).or_else(user_config_file);
    let path = path.ok_or_else(|| Failure::new("there is no home directory; name a file with --config"))?;
    let exists = path.is_file();
    let text = || path.display().to_string();
    Ok(Output::new(flags.json).document(&json!({ "path": path, "exists": exists }), text)?)
}

fn check(context: &Context) -> Result<(), Failure> {
    let settings = context.settings();
    crate::builder::check_settings(settings)?;
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let unknown = unknown_variables(names);
    if !unknown.is_empty() {
        let list = plain(&unknown.join(", "));
        return Err(Failure::usage(format!("these variables set nothing: {list}"))
            .hint("`teale-node config show` lists the settings; their variables are TEALE_ and the name in capitals"));
    }
    let file = context.file.as_ref().map(|path| path.display().to_string());
    let text = || match &file {
        Some(file) => format!("{file}: fine"),
        None => "no configuration file; flags, variables and defaults are fine".into(),
    };
    Ok(context.output.document(&json!({ "ok": true, "file": file }), text)?)
}
