//! Messages as strangers write them.

use super::MODEL;

/// A hello; from a deployed peer without `resumable`.
pub fn hello_text(resumable: bool) -> String {
    let says = if resumable { r#","resumable":true"# } else { "" };
    let hardware = serde_json::to_string(&super::hardware()).unwrap();
    format!(
        r#"{{"hello":{{"deviceInfo":{{"id":"x","name":"x","hardware":{hardware},"registeredAt":1,"lastSeenAt":1,"isCurrentDevice":true,"loadedModels":[]}},"protocolVersion":1,"clusterPasscodeHash":null,"loadedModels":["{MODEL}"],"ownerUserID":null{says}}}}}"#
    )
}

/// A piece of an answer, numbered or not.
pub fn chunk_text(id: &str, text: &str, seq: Option<u64>) -> String {
    let seq = seq.map(|seq| format!(r#","seq":{seq}"#)).unwrap_or_default();
    format!(
        r#"{{"inferenceChunk":{{"requestID":"{id}","chunk":{{"id":"c","object":"o","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}{seq}}}}}"#
    )
}

/// The last request's id on a link, and whether it said that it may be resumed.
pub fn asked(said: &[String]) -> (String, bool) {
    let text = said.iter().rfind(|text| text.contains("inferenceRequest")).unwrap();
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    let request = &json["inferenceRequest"];
    (request["requestID"].as_str().unwrap().to_owned(), request["resumable"] == true)
}

/// A resumable request.
pub fn ask_text(id: &str, prompt: &str) -> String {
    format!(
        r#"{{"inferenceRequest":{{"requestID":"{id}","request":{{"model":"{MODEL}","messages":[{{"role":"user","content":"{prompt}"}}]}},"streaming":true,"resumable":true}}}}"#
    )
}

/// The request goes on over the link this is said on.
pub fn resume_text(id: &str, received: u64, attempt: u64) -> String {
    format!(r#"{{"inferenceResume":{{"requestID":"{id}","received":{received},"attempt":{attempt}}}}}"#)
}
