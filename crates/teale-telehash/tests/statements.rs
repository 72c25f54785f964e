//! `docs/TELEHASH.md` names the tests that there are, and its table and plot show the figures that were measured.
//!
//! Tests of a statement are called `sNN_…`. `TEALE_WRITE_DOCS=1 cargo test -p teale-telehash --test statements` writes the
//! tables anew.

#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test"
)]

mod world;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use world::record;

/// Version, and its number of statements.
const VERSIONS: &[(&str, usize)] = &[("v1", 47), ("v2", 53)];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The tests of each statement: `fn s07_…` below `tests/VERSION`, `src/VERSION`, and in the wire's module.
fn tests_of(version: &str) -> BTreeMap<usize, Vec<String>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let wire = crates.join("teale-wire/src/telehash");
    let here = crates.join("teale-telehash");
    let mut files = Vec::new();
    rust_files(&here.join("tests").join(version), &mut files);
    rust_files(&here.join("src").join(version), &mut files);
    let of_wire: &[&str] = if version == "v1" { &["telex.rs", "tap_rule.rs"] } else { &["packet.rs"] };
    files.extend(of_wire.iter().map(|file| wire.join(file)));
    files.push(here.join("tests").join(version).with_extension("rs"));
    let mut tests = BTreeMap::<usize, Vec<String>>::new();
    for text in files.iter().filter_map(|file| std::fs::read_to_string(file).ok()) {
        for rest in text.split("fn s").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if let Some(number) = name.split('_').next().and_then(|number| number.parse().ok()) {
                tests.entry(number).or_default().push(format!("s{name}"));
            }
        }
    }
    tests.values_mut().for_each(|names| names.sort());
    tests
}

/// What stands between two marks.
fn between<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("<!-- {name}: begin -->\n")).expect("the mark where it begins");
    rest.split_once(&format!("<!-- {name}: end -->")).expect("the mark where it ends").0
}

/// A table with its third column made anew.
fn renewed(table: &str, tests: &BTreeMap<usize, Vec<String>>) -> String {
    let mut out = String::new();
    for line in table.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let number = cells.get(1).and_then(|cell| cell.parse::<usize>().ok());
        if let Some(number) = number {
            let names = tests.get(&number).cloned().unwrap_or_default();
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            out.push_str(&format!("| {number} | {} | {} |\n", cells[2], names.join(", ")));
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[test]
fn every_statement_has_tests_and_the_page_names_them() {
    let path = record::docs(record::PAGE);
    let mut page = std::fs::read_to_string(&path).unwrap();
    let mut without = Vec::new();
    for (version, count) in VERSIONS {
        let (tests, table) = (tests_of(version), between(&page, version).to_owned());
        assert_eq!(table.lines().count(), count + 2, "{version}");
        without.extend((1..=*count).filter(|n| !tests.contains_key(n)).map(|n| format!("{version} {n}")));
        let new = renewed(&table, &tests);
        if std::env::var_os("TEALE_WRITE_DOCS").is_some() {
            page = page.replacen(&table, &new, 1);
            std::fs::write(&path, &page).unwrap();
        }
        assert_eq!(between(&page, version), new, "TEALE_WRITE_DOCS=1 with this test writes it anew");
    }
    assert!(without.is_empty(), "statements without a test: {without:?}");
}

#[test]
fn the_table_and_the_plot_show_the_figures() {
    let read = |name: &str| std::fs::read_to_string(record::docs(name)).unwrap();
    let lines = record::read(&read(record::FIGURES));
    assert!(!lines.is_empty());
    assert_eq!(between(&read(record::PAGE), "lookups"), record::table(&lines));
    assert_eq!(read(record::PLOT), record::plot(&lines));
}
