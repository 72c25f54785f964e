//! Joining chunks of one answer without changing what it says.

use teale_wire::chat::ChatChunk;

/// Whether `next` can be written as part of `last`: one choice each with nothing but text, nothing after a finish
/// reason, and at most `limit` bytes of text together.
pub(crate) fn can_merge(last: &ChatChunk, next: &ChatChunk, limit: usize) -> bool {
    let ([a], [b]) = (last.choices.as_slice(), next.choices.as_slice()) else {
        return false;
    };
    let plain = |chunk: &ChatChunk| chunk.usage.is_none() && chunk.extra.is_empty();
    plain(last)
        && plain(next)
        && last.id == next.id
        && a.index == b.index
        && a.finish_reason.is_none()
        && (b.delta.role.is_none() || (a.delta.role.is_none() && a.delta.content.is_none()))
        && a.extra.is_empty()
        && b.extra.is_empty()
        && a.delta.extra.is_empty()
        && b.delta.extra.is_empty()
        && text_len(last) + text_len(next) <= limit
}

/// Adds `next` to `last`; only after [`can_merge`].
pub(crate) fn merge(last: &mut ChatChunk, next: ChatChunk) {
    let (Some(a), Some(b)) = (last.choices.first_mut(), next.choices.into_iter().next()) else {
        return;
    };
    match (&mut a.delta.content, b.delta.content) {
        (Some(text), Some(more)) => text.push_str(&more),
        (text @ None, more) => *text = more,
        (Some(_), None) => {}
    }
    if a.delta.role.is_none() {
        a.delta.role = b.delta.role;
    }
    a.finish_reason = b.finish_reason;
}

/// Bytes of text in a chunk.
pub(crate) fn text_len(chunk: &ChatChunk) -> usize {
    chunk.choices.iter().filter_map(|choice| choice.delta.content.as_ref()).map(String::len).sum()
}

/// Whether a chunk says nothing yet: an opening role, no text, no finish reason.
pub(crate) fn is_opening(chunk: &ChatChunk) -> bool {
    chunk.usage.is_none()
        && !chunk.choices.is_empty()
        && chunk.choices.iter().all(|choice| {
            choice.finish_reason.is_none()
                && choice.delta.content.as_ref().is_none_or(String::is_empty)
                && choice.delta.extra.is_empty()
        })
}
