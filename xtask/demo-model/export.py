"""Writes the trained model as a GGUF file, its matrices as Q8_0."""

import hashlib
import sys
from pathlib import Path

import gguf
import numpy as np
import torch

import tokenizer as tk
from model import CONTEXT, EPSILON, FEED_FORWARD, HEADS, LAYERS, ROPE_BASE, WIDTH, Model
from train import make_tokenizer

# What users write is read in small letters: how a question is spelt must not matter to so small a model.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|assistant|>{{ message['content'] | trim }}"
    "{% elif message['role'] == 'system' %}<|system|> {{ message['content'] | trim | lower }}"
    "{% elif message['role'] in ['user', 'tool'] %}<|user|> {{ message['content'] | trim | lower }}"
    "{% else %}{{ raise_exception('unknown role') }}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
KIND = gguf.TokenType


def kinds(tokenizer):
    """The type of every token."""
    control = [KIND.UNKNOWN] + [KIND.CONTROL] * (len(tk.SPECIALS) - 1)
    rest = len(tokenizer.tokens) - tokenizer.first_plain
    return control + [KIND.BYTE] * 256 + [KIND.NORMAL] * rest


def neighbours(matrix):
    """The rows of each head in llama.cpp's order: it turns neighbours, we turn the like of both halves."""
    return matrix.view(HEADS, 2, -1, WIDTH).transpose(1, 2).reshape(matrix.shape)


def matrices(state):
    """Name and data of every tensor; llama.cpp wants what we keep joined apart."""
    yield "token_embd.weight", state["token_embd.weight"]
    yield "output_norm.weight", state["output_norm.weight"]
    for layer in range(LAYERS):
        part = lambda name: state[f"layers.{layer}.{name}.weight"]
        q, k, v = part("attn_qkv").chunk(3)
        q, k = neighbours(q), neighbours(k)
        gate, up = part("ffn_gate_up").chunk(2)
        named = {
            "attn_norm": part("attn_norm"), "attn_q": q, "attn_k": k, "attn_v": v, "attn_output": part("attn_output"),
            "ffn_norm": part("ffn_norm"), "ffn_gate": gate, "ffn_up": up, "ffn_down": part("ffn_down"),
        }
        for name, data in named.items():
            yield f"blk.{layer}.{name}.weight", data


def write(state, tokenizer, path, full=False):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Teale demo model")
    writer.add_description("built-in demo model: answers questions about Teale only")
    writer.add_license("MIT OR Apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if full else gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_vocab_size(len(tokenizer.tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_scores(tokenizer.scores)
    writer.add_token_types(kinds(tokenizer))
    writer.add_bos_token_id(tk.BEGIN)
    writer.add_eos_token_id(tk.END)
    writer.add_eot_token_id(tk.END)
    writer.add_unk_token_id(tk.UNKNOWN)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)
    for name, data in matrices(state):
        data = data.numpy().astype(np.float32)
        if data.ndim == 2 and not full:
            packed = gguf.quants.quantize(data, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    tokenizer = make_tokenizer(folder)
    state = torch.load(folder / "model.pt", weights_only=True)
    Model(len(tokenizer.tokens)).load_state_dict(state)
    write(state, tokenizer, out, full="--full" in sys.argv)
    data = out.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    out.with_name(out.name + ".sha256").write_text(f"{digest}  {out.name}\n", encoding="utf-8")
    print(f"{out}: {len(data)} bytes, SHA-256 {digest}")


if __name__ == "__main__":
    main()
