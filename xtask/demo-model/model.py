"""A llama-architecture model, small enough to train on two CPU cores."""

import math

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, LAYERS, HEADS, FEED_FORWARD, CONTEXT = 192, 4, 6, 512, 1024
EPSILON, ROPE_BASE = 1e-5, 10000.0


def rotations(length):
    """cos and sin per position and pair of neighbours, as llama.cpp turns them for this architecture."""
    size = WIDTH // HEADS
    angles = torch.outer(torch.arange(length), ROPE_BASE ** (-torch.arange(0, size, 2) / size))
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn_norm = nn.RMSNorm(WIDTH, EPSILON)
        self.attn_qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.attn_output = nn.Linear(WIDTH, WIDTH, bias=False)
        self.ffn_norm = nn.RMSNorm(WIDTH, EPSILON)
        self.ffn_gate_up = nn.Linear(WIDTH, 2 * FEED_FORWARD, bias=False)
        self.ffn_down = nn.Linear(FEED_FORWARD, WIDTH, bias=False)

    def forward(self, x, cos, sin):
        rows, length, _ = x.shape
        qkv = self.attn_qkv(self.attn_norm(x)).view(rows, length, 3, HEADS, WIDTH // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_output(mixed.transpose(1, 2).reshape(rows, length, WIDTH))
        gate, up = self.ffn_gate_up(self.ffn_norm(x)).chunk(2, -1)
        return x + self.ffn_down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.token_embd = nn.Embedding(vocabulary, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.output_norm = nn.RMSNorm(WIDTH, EPSILON)
        cos, sin = rotations(CONTEXT)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                scale = 0.03 if "embd" in name else weight.shape[1] ** -0.5
                if name.endswith(("attn_output.weight", "ffn_down.weight")):
                    scale /= math.sqrt(2 * LAYERS)
                nn.init.normal_(weight, std=scale)

    def hidden(self, tokens):
        length = tokens.shape[1]
        x = self.token_embd(tokens)
        for layer in self.layers:
            x = layer(x, self.cos[:length], self.sin[:length])
        return self.output_norm(x)

    def logits(self, hidden):
        """The embedding is the output head as well."""
        return F.linear(hidden, self.token_embd.weight)


class Muon:
    """Momentum with orthogonalised steps (Jordan 2024) for the matrices inside the layers."""

    def __init__(self, weights, momentum=0.95):
        self.weights, self.momentum = list(weights), momentum
        self.past = [torch.zeros_like(weight) for weight in self.weights]

    @torch.no_grad()
    def step(self, rate, decay):
        for weight, past in zip(self.weights, self.past):
            past.mul_(self.momentum).add_(weight.grad)
            change = orthogonal(weight.grad.add(past, alpha=self.momentum))
            weight.mul_(1 - rate * decay)
            weight.sub_(change, alpha=rate * max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5)


def orthogonal(matrix):
    """The nearest matrix with equal singular values, by five Newton-Schulz steps."""
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x
