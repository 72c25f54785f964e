//! Text filters: whatever the pieces, the text is the same.

use proptest::prelude::*;
use teale_infer::text::{Found, StopFilter, Utf8Filter};

/// Text let through, and whether a stop text ended it.
fn filtered(stops: &[&str], pieces: &[&str]) -> (String, bool) {
    let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
    let mut filter = StopFilter::new(&stops);
    let mut out = String::new();
    for piece in pieces {
        match filter.push(piece) {
            Found::Text(text) => out.push_str(&text),
            Found::Stop(text) => return (out + &text, true),
        }
    }
    (out + &filter.finish(), false)
}

#[test]
fn a_stop_text_is_found_across_pieces() {
    assert_eq!(filtered(&["</end>"], &["a</", "en", "d>b"]), ("a".to_owned(), true));
    assert_eq!(filtered(&["</end>"], &["a</", "en", "ough"]), ("a</enough".to_owned(), false));
    assert_eq!(filtered(&["aab"], &["a", "a", "a", "b"]), ("a".to_owned(), true));
    assert_eq!(filtered(&["xyz", "y"], &["x", "y"]), ("x".to_owned(), true));
    assert_eq!(filtered(&["🦆"], &["ü🦆"]), ("ü".to_owned(), true));
    assert_eq!(filtered(&["", "b"], &["a", "b"]), ("a".to_owned(), true));
}

#[test]
fn only_a_possible_beginning_is_held_back() {
    let mut filter = StopFilter::new(&["stop".to_owned()]);
    assert_eq!(filter.push("a sto"), Found::Text("a ".to_owned()));
    assert_eq!(filter.push("n"), Found::Text("ston".to_owned()));
    assert_eq!(filter.push("es"), Found::Text("e".to_owned()));
    assert_eq!(filter.finish(), "s");
}

#[test]
fn a_torn_character_waits_for_its_rest() {
    let mut filter = Utf8Filter::default();
    let duck = "🦆".as_bytes();
    assert_eq!(filter.push(&duck[..3]), "");
    assert_eq!(filter.push(&duck[3..]), "🦆");
    assert_eq!(filter.push(b"a\xFFb"), "a\u{FFFD}b");
    assert_eq!(filter.push(&duck[..2]), "");
    assert_eq!(filter.push(b"x"), "\u{FFFD}x");
    assert_eq!(filter.push(&duck[..2]), "");
    assert_eq!(filter.finish(), "\u{FFFD}");
}

proptest! {
    #[test]
    fn pieces_of_bytes_do_not_matter(bytes: Vec<u8>, cut in 1_usize..5) {
        let mut filter = Utf8Filter::default();
        let text: String = bytes.chunks(cut).map(|piece| filter.push(piece)).collect();
        prop_assert_eq!(text + &filter.finish(), String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn pieces_of_text_do_not_matter(text in "[abc]{0,20}", stops in proptest::collection::vec("[abc]{1,4}", 0..3)) {
        let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
        let letters: Vec<String> = text.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        // Letter by letter, the stop text that is complete first wins.
        let first_end = (0..=text.len()).find(|end| stops.iter().any(|stop| text[..*end].ends_with(stop)));
        let (out, stopped) = filtered(&stops, &letters);
        prop_assert_eq!(stopped, first_end.is_some());
        match first_end {
            None => prop_assert_eq!(out, text),
            Some(end) => {
                let longest = stops.iter().filter(|stop| text[..end].ends_with(**stop)).map(|stop| stop.len()).max();
                prop_assert_eq!(out, &text[..end - longest.unwrap()]);
            }
        }
    }
}
