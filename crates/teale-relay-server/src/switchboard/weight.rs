//! What a parsed registration takes in memory. Short JSON can become a large tree, so its text says too little.

use std::mem::size_of;

use serde_json::Value;
use teale_wire::{Extra, Register};

/// What an allocation costs beside its bytes.
const ALLOCATION: usize = 16;
/// What an object's table spends on one entry beside key and value.
const ENTRY: usize = 32;

/// About how many bytes a registration holds, rather more than less.
pub(super) fn weight(register: &Register) -> usize {
    let capabilities = &register.capabilities;
    let hardware = &capabilities.hardware;
    let texts = [Some(&register.display_name), Some(&register.signature), register.wg_public_key.as_ref()]
        .into_iter()
        .chain([register.proof.as_ref(), Some(&hardware.chip_family), Some(&hardware.chip_name)])
        .chain([hardware.gpu_backend.as_ref(), hardware.platform.as_ref()]);
    let lists = [Some(&capabilities.loaded_models), capabilities.ptn_ids.as_ref()]
        .into_iter()
        .chain([capabilities.swappable_models.as_ref()]);
    size_of::<Register>()
        + texts.flatten().map(text).sum::<usize>()
        + lists.flatten().map(list).sum::<usize>()
        + [&register.extra, &capabilities.extra, &hardware.extra].map(object).iter().sum::<usize>()
}

fn text(text: &String) -> usize {
    ALLOCATION + text.capacity()
}

fn list(list: &Vec<String>) -> usize {
    ALLOCATION + list.capacity() * size_of::<String>() + list.iter().map(text).sum::<usize>()
}

fn object(fields: &Extra) -> usize {
    fields.iter().map(|(name, field)| ENTRY + size_of::<(String, Value)>() + text(name) + value(field)).sum()
}

/// What a value holds beside itself. As deep as JSON may nest, which is bounded.
fn value(of: &Value) -> usize {
    match of {
        Value::String(of) => text(of),
        Value::Array(of) => {
            ALLOCATION + of.capacity() * size_of::<Value>() + of.iter().map(value).sum::<usize>()
        }
        Value::Object(of) => ALLOCATION + object(of),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
