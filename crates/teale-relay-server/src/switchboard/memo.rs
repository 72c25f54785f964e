//! The route of the last `relayData` frame: what a socket sends next usually takes the same.

use teale_wire::{PeekedKind, limits};

use super::Route;
use crate::websocket::Form;

/// How a frame of this form ends: its last field is its data.
const TAIL: &[u8] = b"\"}}";
/// The name of that field and the opening quote of its text.
const FIELD: &[u8] = b"\"data\":\"";

/// Remembers one frame's text up to the opening quote of its data, if data comes last.
///
/// A frame that begins with the same bytes, goes on with plain ones ([`is_plain`](crate::websocket::is_plain)) and ends
/// in the same way is the same JSON but for the text of that one string. So it has the same route, and [`Route::of`]
/// need not find it again. Whether they are plain is seen while the frame is unmasked: [`form`](Self::form) says where to
/// look.
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

    /// What the frames look like that it knows.
    pub fn form(&self) -> Option<Form> {
        self.route.is_some().then_some(Form { head: self.head.len(), tail: TAIL.len() })
    }

    /// Whether [`Route::of`] would find the remembered route for this frame, which has that form, if it is known to have
    /// one. False may mean that it is not known.
    pub fn matches(&self, frame: &[u8], form: Option<Form>) -> bool {
        form.is_some()
            && form == self.form()
            && frame.len() <= limits::RELAY_FRAME
            && frame.starts_with(&self.head)
            && frame.ends_with(TAIL)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::websocket::{Event, Inbox};

    const A: &str = "aa00000000000000000000000000000000000000000000000000000000000001";
    const B: &str = "bb00000000000000000000000000000000000000000000000000000000000002";

    fn frame(before: &str, data: &str, after: &str) -> String {
        format!(
            r#"{{"relayData":{{"fromNodeID":"{A}","toNodeID":"{B}","sessionID":"S1"{before},"data":"{data}"{after}}}}}"#
        )
    }

    /// Whether the memo knows a frame, which comes as clients' frames do.
    fn knows(memo: &RouteMemo, frame: &[u8]) -> bool {
        let mut inbox = Inbox::new(limits::RELAY_FRAME);
        inbox.expect(memo.form());
        inbox.buffer().extend_from_slice(&[0x81, 0xff]);
        inbox.buffer().extend_from_slice(&(frame.len() as u64).to_be_bytes());
        if let Ok(short @ ..=0xffff) = u16::try_from(frame.len()) {
            inbox.buffer().clear();
            inbox.buffer().extend_from_slice(&[0x81, 0xfe]);
            inbox.buffer().extend_from_slice(&short.to_be_bytes());
        }
        let key = [0x37, 0xfa, 0x21, 0x3d];
        inbox.buffer().extend_from_slice(&key);
        inbox.buffer().extend(frame.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
        let Some(Event::Message { frame: piece, payload_at, form, .. }) = inbox.next().unwrap() else {
            panic!("no message");
        };
        assert_eq!(&inbox.bytes(&piece)[payload_at..], frame);
        memo.matches(frame, form)
    }

    #[test]
    fn knows_the_frames_that_follow() {
        let mut memo = RouteMemo::default();
        let first = frame("", "QUJD", "");
        assert!(!knows(&memo, first.as_bytes()));
        memo.learn(first.as_bytes(), &Route::of(first.as_bytes()));
        let long = frame("", &"QUJD".repeat(1000), "");
        assert!(knows(&memo, long.as_bytes()));
        assert_eq!(memo.route(1, long.len()).unwrap(), Route::of(long.as_bytes()));
        for data in ["\\u0041", "\"", "A\nB", "\u{e4}", "A\",\"x\":\"", "\u{7f}\\"] {
            assert!(!knows(&memo, frame("", data, "").as_bytes()), "{data:?}");
        }
        assert!(!knows(&memo, frame("", "QUJD", " ").as_bytes()));
        assert!(!knows(&memo, first.replace("S1", "S2").as_bytes()));
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
            if next.len() > 125 && knows(&memo, next.as_bytes()) {
                prop_assert_eq!(memo.route(1, next.len()).unwrap(), Route::of(next.as_bytes()));
            }
        }
    }
}
