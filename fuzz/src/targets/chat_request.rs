//! A chat request that is read can be written, and reads the same again.

use teale_wire::chat::ChatRequest;

/// Reads, writes, reads again.
pub fn run(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<ChatRequest>(data) else {
        return;
    };
    let _ = (request.token_limit(), request.stop.as_ref().map(|stop| stop.as_slice().len()));
    for message in &request.messages {
        let _ = message.content.as_ref().map(|content| content.to_text());
    }
    let again = serde_json::to_vec(&request).and_then(|text| serde_json::from_slice::<ChatRequest>(&text));
    assert_eq!(again.ok().as_ref(), Some(&request));
}
