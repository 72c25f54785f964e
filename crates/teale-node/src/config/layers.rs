//! Flag, variable, file, default: merged key by key, each value with its source.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use teale_relay_client::url_without_credentials;
use thiserror::Error;
use toml::{Table, Value};

use super::{
    Settings,
    keys::{KEYS, Key, Kind},
};

/// A configuration file larger than this is not read, in bytes.
const FILE_LIMIT: u64 = 1 << 20;
/// A secret's file larger than this is not read, in bytes.
const SECRET_LIMIT: u64 = 64 << 10;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// An environment variable.
    Variable(String),
    /// The configuration file.
    File(PathBuf),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One line of `config show`.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The setting.
    pub key: &'static str,
    /// Its value; `null` when unset, `"(set)"` for a secret.
    pub value: serde_json::Value,
    /// Where it came from, in words.
    pub source: String,
}

/// The merged settings.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The values.
    pub settings: Settings,
    /// The same, one by one, with their sources.
    pub rows: Vec<Row>,
}

/// What is wrong with the configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file that cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Not TOML.
    #[error("{path} is not valid TOML: {reason}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A key nobody knows: a typing mistake would otherwise be silent.
    #[error("{path}: there is no setting `{key}`; `teale-node config show` lists them all")]
    UnknownKey {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: String,
    },
    /// A value of the wrong shape.
    #[error("setting `{key}` ({from}): {reason}")]
    BadValue {
        /// Which setting.
        key: String,
        /// Where the value came from.
        from: Source,
        /// What is wrong.
        reason: String,
    },
    /// The same secret given as text and as a file, in one place.
    #[error("settings `{key}` and `{key}_file` are both given ({from}); give one of them")]
    TwoSecrets {
        /// Which setting.
        key: String,
        /// Where.
        from: Source,
    },
}

/// The layers above the defaults.
pub struct Layers<'a> {
    /// What the command line said: [`Settings`]' keys, those that were given.
    pub flags: Table,
    /// Environment variables by name.
    pub variables: &'a dyn Fn(&str) -> Option<String>,
    /// The configuration file, if there is one.
    pub file: Option<(PathBuf, Table)>,
    /// Defaults that depend on the machine (`data_dir`, `name`).
    pub defaults: Table,
}

impl Layers<'_> {
    /// Merges the layers.
    ///
    /// # Errors
    /// An unknown key in the file, a value of the wrong shape, a secret's file that cannot be read.
    pub fn resolve(self) -> Result<Resolved, ConfigError> {
        if let Some((path, table)) = &self.file {
            refuse_unknown(path, table)?;
        }
        let mut builtin = Table::try_from(Settings::default()).map_err(|error| ConfigError::BadValue {
            key: "defaults".into(),
            from: Source::Default,
            reason: error.to_string(),
        })?;
        builtin.extend(self.defaults.clone());
        let mut merged = Table::new();
        let mut rows = Vec::with_capacity(KEYS.len());
        for key in KEYS {
            let (value, source) = match self.pick(key)? {
                Some(found) => found,
                None => match get(&builtin, key.name) {
                    Some(value) => (value.clone(), Source::Default),
                    None => {
                        rows.push((key, None, Source::Default));
                        continue;
                    }
                },
            };
            put(&mut merged, key.name, value.clone());
            rows.push((key, Some(value), source));
        }
        let settings = serde_path_to_error::deserialize(Value::Table(merged)).map_err(|error| {
            let key = error.path().to_string();
            let from = rows
                .iter()
                .find(|(known, ..)| key.starts_with(known.name))
                .map(|(_, _, source)| source.clone());
            ConfigError::BadValue {
                key,
                from: from.unwrap_or(Source::Default),
                reason: error.inner().message().trim().to_owned(),
            }
        })?;
        Ok(Resolved {
            settings,
            rows: rows.into_iter().map(|(key, value, source)| row(key, value, &source)).collect(),
        })
    }

    /// The value of the highest layer that has one.
    fn pick(&self, key: &Key) -> Result<Option<(Value, Source)>, ConfigError> {
        if let Some(value) = table_value(&self.flags, key, &Source::Flag)? {
            return Ok(Some((value, Source::Flag)));
        }
        let name = key.variable();
        let source = Source::Variable(name.clone());
        let text = (self.variables)(&name).filter(|text| !text.is_empty());
        if key.kind == Kind::Secret {
            let file = (self.variables)(&format!("{name}_FILE")).filter(|text| !text.is_empty());
            if let Some(value) = secret(key, text, file, &source)? {
                return Ok(Some((value, source)));
            }
        } else if let Some(text) = text {
            let value = parse(key, &text).map_err(|reason| ConfigError::BadValue {
                key: key.name.into(),
                from: source.clone(),
                reason,
            })?;
            return Ok(Some((value, source)));
        }
        let Some((path, table)) = &self.file else { return Ok(None) };
        let source = Source::File(path.clone());
        Ok(table_value(table, key, &source)?.map(|value| (value, source)))
    }
}

/// Variables that look like settings but are none: most likely typing mistakes.
pub(crate) fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let known = |name: &str| {
        KEYS.iter().any(|key| {
            let variable = key.variable();
            name == variable || (key.kind == Kind::Secret && name.strip_suffix("_FILE") == Some(&*variable))
        })
    };
    let ours =
        |name: &String| name.starts_with("TEALE_") && !name.starts_with("TEALE_TEST_") && name != "TEALE_LOG";
    names.filter(|name| ours(name) && !known(name)).collect()
}

/// Reads and parses a configuration file.
///
/// # Errors
/// [`ConfigError::Unreadable`], [`ConfigError::Syntax`].
pub(crate) fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text = read_bounded(path, FILE_LIMIT)?;
    text.parse().map_err(|error: toml::de::Error| {
        // The error's own text quotes the line, which may hold a key.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        ConfigError::Syntax { path: path.to_owned(), reason: format!("line {line}: {}", error.message()) }
    })
}

fn read_bounded(path: &Path, limit: u64) -> Result<String, ConfigError> {
    use std::io::Read;
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::new();
    file.take(limit + 1).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > limit {
        return Err(unreadable(format!("it is larger than {limit} bytes")));
    }
    Ok(text)
}

fn table_value(table: &Table, key: &Key, source: &Source) -> Result<Option<Value>, ConfigError> {
    if key.kind != Kind::Secret {
        return Ok(get(table, key.name).cloned());
    }
    let text = |name: &str| match get(table, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ConfigError::BadValue {
            key: name.to_owned(),
            from: source.clone(),
            reason: "text is expected".into(),
        }),
    };
    secret(key, text(key.name)?, text(&format!("{}_file", key.name))?, source)
}

fn secret(
    key: &Key,
    text: Option<String>,
    file: Option<String>,
    source: &Source,
) -> Result<Option<Value>, ConfigError> {
    match (text, file) {
        (Some(_), Some(_)) => Err(ConfigError::TwoSecrets { key: key.name.into(), from: source.clone() }),
        (Some(text), None) if text.trim().is_empty() => Err(ConfigError::BadValue {
            key: key.name.into(),
            from: source.clone(),
            reason: "it is empty; leave it out to have none".into(),
        }),
        (Some(text), None) => Ok(Some(Value::String(text))),
        (None, Some(file)) => {
            let text = read_bounded(Path::new(&file), SECRET_LIMIT)?;
            let text = text.trim_end_matches(['\r', '\n']);
            if text.trim().is_empty() {
                return Err(ConfigError::Unreadable { path: file.into(), reason: "it is empty".into() });
            }
            Ok(Some(Value::String(text.to_owned())))
        }
        (None, None) => Ok(None),
    }
}

fn parse(key: &Key, text: &str) -> Result<Value, String> {
    match key.kind {
        Kind::Text | Kind::Secret => Ok(Value::String(text.to_owned())),
        Kind::List => Ok(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| Value::String(part.into()))
                .collect(),
        )),
        Kind::Whole => {
            text.trim().parse().map(Value::Integer).map_err(|_| "a whole number is expected".into())
        }
        Kind::Switch => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(Value::Boolean(true)),
            "false" | "0" | "no" => Ok(Value::Boolean(false)),
            _ => Err("`true` or `false` is expected".into()),
        },
    }
}

fn refuse_unknown(path: &Path, table: &Table) -> Result<(), ConfigError> {
    let known = |name: &str| {
        KEYS.iter().any(|key| {
            key.name == name || (key.kind == Kind::Secret && name.strip_suffix("_file") == Some(key.name))
        })
    };
    let group =
        |name: &str| KEYS.iter().any(|key| key.name.split_once('.').is_some_and(|(table, _)| table == name));
    let unknown = |key: String| ConfigError::UnknownKey { path: path.to_owned(), key };
    for (name, value) in table {
        match value {
            Value::Table(inner) if group(name) => {
                for key in inner.keys() {
                    let full = format!("{name}.{key}");
                    if !known(&full) {
                        return Err(unknown(full));
                    }
                }
            }
            _ if known(name) => {}
            _ => return Err(unknown(name.clone())),
        }
    }
    Ok(())
}

fn get<'t>(table: &'t Table, name: &str) -> Option<&'t Value> {
    match name.split_once('.') {
        None => table.get(name),
        Some((outer, inner)) => table.get(outer)?.as_table()?.get(inner),
    }
}

fn put(table: &mut Table, name: &str, value: Value) {
    match name.split_once('.') {
        None => {
            table.insert(name.into(), value);
        }
        Some((outer, inner)) => {
            let slot = table.entry(outer).or_insert_with(|| Value::Table(Table::new()));
            if let Some(slot) = slot.as_table_mut() {
                slot.insert(inner.into(), value);
            }
        }
    }
}

fn row(key: &Key, value: Option<Value>, source: &Source) -> Row {
    let shown = match (key.kind, value) {
        (_, None) => serde_json::Value::Null,
        (Kind::Secret, Some(_)) => "(set)".into(),
        (_, Some(value)) => serde_json::Value::deserialize(without_credentials(value)).unwrap_or_default(),
    };
    Row { key: key.name, value: shown, source: source.to_string() }
}

/// URLs among the values without the names and passwords they may carry.
fn without_credentials(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(url_without_credentials(&text).into_owned()),
        Value::Array(items) => Value::Array(items.into_iter().map(without_credentials).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_line_is_named_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        for text in
            ["slots = 2\napi_key = \"sesame\n", "slots = 2\napi_key = sesame\n", "slots = 2\nsesame\n"]
        {
            std::fs::write(&path, text).unwrap();
            let error = read_file(&path).unwrap_err().to_string();
            assert!(error.contains("line 2") && !error.contains("sesame"), "{error}");
        }
    }
}
