"""A llama-architecture model, small enough to train on two CPU cores."""

import math

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, LAYERS, HEADS, FEED_FORWARD, CONTEXT = 192, 4, 6, 512, 1024
EPSILON, ROPE_BASE = 1e-5, 10000.0


def rotations(length):
    """cos and sin per position and pair; a pair is a number of a head's first half and its like in the second."""
    size = WIDTH // HEADS
    angles = torch.outer(torch.arange(length), ROPE_BASE ** (-torch.arange(0, size, 2) / size))
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    one, two = x.chunk(2, -1)
    return torch.cat((one * cos - two * sin, one * sin + two * cos), -1)


class Matrix(nn.Linear):
    """A matrix that is kept in full and multiplied in the precision of what comes in."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x):
        return F.linear(x, self.weight.to(x.dtype))


class Norm(nn.RMSNorm):
    def forward(self, x):
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn_norm = Norm(WIDTH, EPSILON)
        self.attn_qkv = Matrix(WIDTH, 3 * WIDTH)
        self.attn_output = Matrix(WIDTH, WIDTH)
        self.ffn_norm = Norm(WIDTH, EPSILON)
        self.ffn_gate_up = Matrix(WIDTH, 2 * FEED_FORWARD)
        self.ffn_down = Matrix(FEED_FORWARD, WIDTH)

    def forward(self, x, cos, sin, later):
        rows, length, _ = x.shape
        qkv = self.attn_qkv(self.attn_norm(x)).view(rows, length, 3, HEADS, WIDTH // HEADS)
        qkv = qkv.permute(2, 0, 3, 1, 4)
        (q, k), v = rotate(qkv[:2], cos, sin), qkv[2]
        # Several times as fast on a CPU in this precision as PyTorch's own attention, whose way back is slow there.
        seen = torch.baddbmm(
            later.expand(rows * HEADS, -1, -1), q.flatten(0, 1), k.flatten(0, 1).mT, alpha=(WIDTH // HEADS) ** -0.5
        )
        mixed = torch.bmm(seen.softmax(-1), v.flatten(0, 1)).view(rows, HEADS, length, -1)
        x = x + self.attn_output(mixed.transpose(1, 2).reshape(rows, length, WIDTH))
        gate, up = self.ffn_gate_up(self.ffn_norm(x)).chunk(2, -1)
        return x + self.ffn_down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, vocabulary, precision=torch.bfloat16):
        super().__init__()
        self.precision = precision
        self.token_embd = nn.Embedding(vocabulary, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.output_norm = Norm(WIDTH, EPSILON)
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
        x = self.token_embd(tokens).to(self.precision)
        cos, sin = self.cos[:length].to(x.dtype), self.sin[:length].to(x.dtype)
        later = torch.full((length, length), -30000.0, dtype=x.dtype).triu(1)
        for layer in self.layers:
            x = layer(x, cos, sin, later)
        return self.output_norm(x)

    def logits(self, hidden):
        """The embedding is the output head as well."""
        return F.linear(hidden, self.token_embd.weight.to(hidden.dtype)).float()


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
    x = (matrix / (matrix.norm() + 1e-7)).bfloat16()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.T if tall else x).float()
