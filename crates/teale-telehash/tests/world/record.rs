//! The figures of worlds: one JSON line each, in `docs/telehash-lookups.jsonl`; the table and the plot made from them.

use std::{fmt::Write as _, path::PathBuf};

use serde_json::{Value, json};

use super::{Plan, Report};

/// A file of `docs/`.
pub fn docs(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs")).join(name)
}

pub const FIGURES: &str = "telehash-lookups.jsonl";
pub const PLOT: &str = "telehash-lookups.svg";
pub const PAGE: &str = "TELEHASH.md";
/// The table in the page stands between these lines.
pub const MARKS: (&str, &str) = ("<!-- lookups: begin -->\n", "<!-- lookups: end -->\n");

/// A world's line.
pub fn line(version: &str, trouble: &str, plan: &Plan, report: &Report) -> Value {
    let ms = |share| report.took_at(share).as_millis() as u64;
    let tenth = |value: f64| (value * 10.0).round() / 10.0;
    json!({
        "version": version,
        "switches": plan.switches,
        "trouble": trouble,
        "lookups": report.lookups,
        "found": report.found,
        "asked_mean": tenth(report.mean_asked()),
        "asked_p95": report.asked_at(0.95),
        "took_median_ms": ms(0.5),
        "took_p95_ms": ms(0.95),
        "peers": tenth(report.peers),
        "sent_per_second": tenth(report.per_second),
        "memory_kib": (report.memory / 1024.0).round(),
        "cpu_s": report.cpu.round(),
    })
}

/// Puts a line in the place of the one for the same world.
pub fn merge(lines: &mut Vec<Value>, new: Value) {
    let world = |line: &Value| (line["version"].clone(), line["switches"].clone(), line["trouble"].clone());
    match lines.iter_mut().find(|line| world(line) == world(&new)) {
        Some(old) => *old = new,
        None => lines.push(new),
    }
    let key = |line: &Value| {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        (text("version"), text("trouble"), line["switches"].as_u64())
    };
    lines.sort_by_key(key);
}

/// The lines of a file's text.
pub fn read(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The table of the page.
pub fn table(lines: &[Value]) -> String {
    let mut out = String::from(
        "| world | switches | lookups | found | asked: mean, 95 % | time: median, 95 % | peers | datagrams/s | memory | CPU |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for line in lines {
        // A search of v2 does not say how many were asked.
        let asked = match number(line, "asked_mean") {
            0.0 => "–".to_owned(),
            mean => format!("{mean}, {}", number(line, "asked_p95")),
        };
        let share = 100.0 * number(line, "found") / number(line, "lookups").max(1.0);
        let _ = writeln!(
            out,
            "| {}, {} | {} | {} | {share:.2} % | {asked} | {} ms, {} ms | {} | {} | {} KiB | {} s |",
            line["version"].as_str().unwrap_or_default(),
            line["trouble"].as_str().unwrap_or_default(),
            thousands(number(line, "switches")),
            thousands(number(line, "lookups")),
            thousands(number(line, "took_median_ms")),
            thousands(number(line, "took_p95_ms")),
            number(line, "peers"),
            number(line, "sent_per_second"),
            number(line, "memory_kib"),
            thousands(number(line, "cpu_s")),
        );
    }
    out
}

fn number(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or_default()
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    if digits.len() <= 3 {
        return digits;
    }
    let (head, tail) = digits.split_at(digits.len() - 3);
    format!("{head},{tail}")
}

const WIDE: f64 = 800.0;
const HIGH: f64 = 360.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 230.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 6] = ["#1e6fb3", "#b3541e", "#3a8f3a", "#7a3fa0", "#a08a1e", "#777777"];

/// Switches asked per lookup over the size of the world, one line of the plot for each kind of world.
pub fn plot(lines: &[Value]) -> String {
    let most = lines.iter().map(|line| number(line, "asked_mean")).fold(10.0, f64::max);
    let top = (most / 5.0).ceil() * 5.0;
    let across = |n: f64| LEFT + (WIDE - LEFT - RIGHT) * (n / 50.0).log10() / 3.0_f64.mul_add(1.0, 0.1);
    let down = |asked: f64| TOP + (HIGH - TOP - BOTTOM) * (1.0 - asked / top);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDE} {HIGH}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDE}\" height=\"{HIGH}\" fill=\"white\"/>\n"
    );
    for fifth in 0..=5 {
        let asked = top * f64::from(fifth) / 5.0;
        let y = down(asked);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>",
            WIDE - RIGHT
        );
        text(&mut out, LEFT - 8.0, y + 4.0, "end", "#333333", &format!("{asked:.0}"));
    }
    for n in [100.0, 1_000.0, 10_000.0, 50_000.0] {
        text(&mut out, across(n), HIGH - BOTTOM + 18.0, "middle", "#333333", &thousands(n));
    }
    text(&mut out, (LEFT + WIDE - RIGHT) / 2.0, HIGH - 12.0, "middle", "#333333", "switches in the world");
    text(&mut out, LEFT, TOP - 16.0, "start", "#333333", "switches asked per lookup, on average");
    let lines: Vec<&Value> = lines.iter().filter(|line| number(line, "asked_mean") > 0.0).collect();
    let mut kinds: Vec<String> = lines.iter().map(|line| kind(line)).collect();
    kinds.dedup();
    for (index, name) in kinds.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let of: Vec<&Value> = lines.iter().filter(|line| kind(line) == *name).copied().collect();
        let at = |line: &Value| (across(number(line, "switches")), down(number(line, "asked_mean")));
        let points: Vec<String> =
            of.iter().map(|line| format!("{:.1},{:.1}", at(line).0, at(line).1)).collect();
        let _ = writeln!(
            out,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            points.join(" ")
        );
        for line in &of {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                at(line).0,
                at(line).1
            );
        }
        text(&mut out, WIDE - RIGHT + 10.0, TOP + 16.0 * index as f64, "start", colour, name);
    }
    out.push_str("</svg>\n");
    out
}

fn kind(line: &Value) -> String {
    format!(
        "{}, {}",
        line["version"].as_str().unwrap_or_default(),
        line["trouble"].as_str().unwrap_or_default()
    )
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, colour: &str, words: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>"
    );
}
