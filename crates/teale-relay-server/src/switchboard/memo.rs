//! The route of the last `relayData` frame: what a socket sends next usually takes the same.

use teale_wire::{PeekedKind, limits};

use super::Route;

/// How a frame of this form ends: its last field is its data.
const TAIL: &[u8] = b"\"}}";
/// The name of that field and the opening quote of its text.
const FIELD: &[u8] = b"\"data\":\"";

/// Remembers one frame's text up to the opening quote of its data, if data comes last.
///
/// A frame that begins with the same bytes, goes on with plain characters (no quote, backslash, control or non-ASCII
/// character) and ends in the same way is the same JSON but for the text of that one string. So it has the same route,
/// and [`Route::of`] need not find it again.
#[derive(Debug, Default)]
pub struct RouteMemo {
    head: Vec<u8>,
    route: Option<Route<'static>>,
}

/// Heads longer than this are not remembered, in bytes: no known client's is.
const HEAD_BYTES: usize = 1024;

impl RouteMemo {
    /// Remembers the route that [`Route::of`] found for this frame, if the frame is of that form.
    pub fn learn(&mut self, frame: &[u8], route: &Route<'_>) {
        let Route::Forward { kind: PeekedKind::RelayData, from, to, session, .. } = route else { return };
        let Some(text) = frame.strip_suffix(TAIL) else { return };
        // The frame is valid JSON, so a quote that no backslash precedes opens or closes a string; the one that ends
        // `text` closes one. Its opening quote follows a colon, the name before it a comma or a brace.
        let Some(quote) = memchr::memrchr(b'"', text) else { return };
        let (head, _) = text.split_at(quote + 1);
        let Some(before) = head.strip_suffix(FIELD) else { return };
        if head.len() > HEAD_BYTES || !matches!(before.last(), Some(b',' | b'{')) {
            return;
        }
        self.head.clear();
        self.head.extend_from_slice(head);
        self.route = Some(Route::Forward {
            kind: PeekedKind::RelayData,
            from: *from,
            to: *to,
            session: session.clone(),
            frames: 1,
            len: 0,
        });
    }

    /// Whether [`Route::of`] would find the remembered route for this frame. False may mean that it is not known.
    pub fn matches(&self, frame: &[u8]) -> bool {
        self.route.is_some()
            && frame.len() <= limits::RELAY_FRAME
            && frame
                .strip_prefix(self.head.as_slice())
                .and_then(|rest| rest.strip_suffix(TAIL))
                .is_some_and(is_plain)
    }

    /// The remembered route, for so many frames of so many bytes in all.
    pub fn route(&self, frame_count: u32, bytes: usize) -> Option<Route<'static>> {
        let mut route = self.route.clone();
        if let Some(Route::Forward { frames, len, .. }) = &mut route {
            (*frames, *len) = (frame_count, bytes);
        }
        route
    }
}

/// Whether JSON has nothing to say about any of these characters. Written so that it becomes vector code: the least and
/// the union of all bytes, and their least distances from the two special ones, lane by lane.
fn is_plain(text: &[u8]) -> bool {
    const LANES: usize = 32;
    let (mut least, mut union) = ([u8::MAX; LANES], [0; LANES]);
    let (mut quote, mut backslash) = ([u8::MAX; LANES], [u8::MAX; LANES]);
    let (blocks, rest) = text.as_chunks::<LANES>();
    for block in blocks {
        for (lane, byte) in block.iter().enumerate() {
            least[lane] = least[lane].min(*byte);
            union[lane] |= byte;
            quote[lane] = quote[lane].min(byte ^ b'"');
            backslash[lane] = backslash[lane].min(byte ^ b'\\');
        }
    }
    least.iter().all(|byte| *byte >= 0x20)
        && union.iter().all(u8::is_ascii)
        && quote.iter().chain(&backslash).all(|distance| *distance != 0)
        && rest.iter().all(|byte| matches!(byte, 0x20..=0x7f) && !matches!(byte, b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "aa00000000000000000000000000000000000000000000000000000000000001";
    const B: &str = "bb00000000000000000000000000000000000000000000000000000000000002";

    fn frame(before: &str, data: &str, after: &str) -> String {
        format!(
            r#"{{"relayData":{{"fromNodeID":"{A}","toNodeID":"{B}","sessionID":"S1"{before},"data":"{data}"{after}}}}}"#
        )
    }

    #[test]
    fn knows_the_frames_that_follow() {
        let mut memo = RouteMemo::default();
        let first = frame("", "QUJD", "");
        assert!(!memo.matches(first.as_bytes()));
        memo.learn(first.as_bytes(), &Route::of(first.as_bytes()));
        let long = frame("", &"QUJD".repeat(1000), "");
        assert!(memo.matches(long.as_bytes()));
        assert_eq!(memo.route(1, long.len()).unwrap(), Route::of(long.as_bytes()));
        for data in ["\\u0041", "\"", "A\nB", "\u{e4}", "A\",\"x\":\"", "\u{7f}\\"] {
            assert!(!memo.matches(frame("", data, "").as_bytes()), "{data:?}");
        }
        assert!(!memo.matches(frame("", "QUJD", " ").as_bytes()));
        assert!(!memo.matches(first.replace("S1", "S2").as_bytes()));
    }

    #[test]
    fn learns_nothing_where_data_is_not_the_last_field() {
        for odd in [
            frame("", "QUJD", r#","x":"y""#),
            frame("", "QUJD", r#","x":"\"data\":\"y""#),
            frame("", "QUJD", r#","x\"data":"y""#),
            frame("", "QUJD", r#","x":{"data":"y"}"#),
            frame("", "QUJD", r#","x":["y"]"#),
        ] {
            let mut memo = RouteMemo::default();
            let route = Route::of(odd.as_bytes());
            assert!(matches!(route, Route::Forward { .. }), "{odd}");
            memo.learn(odd.as_bytes(), &route);
            assert!(memo.route.is_none(), "{odd}");
        }
    }

    proptest! {
        /// Whatever was learned and whatever comes, a match is what the parser says.
        #[test]
        fn agrees_with_the_parser(
            before in prop_oneof![Just(""), Just(r#","x":{"data":"#), Just(r#","data":"#), Just(r#","x":"\"#)],
            learned in "[ -~]{0,6}", coming in ".{0,6}", after in prop_oneof![Just(""), Just("}"), Just(r#","data":"""#)],
            cut in 0usize..4,
        ) {
            let mut memo = RouteMemo::default();
            let first = frame(before, &learned, after);
            memo.learn(first.as_bytes(), &Route::of(first.as_bytes()));
            let next = frame(before, &coming, after);
            let next = next.get(..next.len() - cut).unwrap_or_default();
            if memo.matches(next.as_bytes()) {
                prop_assert_eq!(memo.route(1, next.len()).unwrap(), Route::of(next.as_bytes()));
            }
        }
    }
}
