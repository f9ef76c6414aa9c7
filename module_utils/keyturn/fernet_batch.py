"""Fernet for many tokens of one length at once: calls are paid for by the batch, not by the token.

A token of stock Fernet costs some twenty calls into the library, and the work itself is the smallest part of it. Here one
AES-CBC call does a whole batch, base64 does it whole as well, and only the HMAC is left for each token. The format is
https://github.com/fernet/spec, AES is the library's, HMAC-SHA256 and randomness are Python's.

Why one CBC stream may hold many tokens: CBC decrypts a block with the block before it and nothing else. In ``IV1|C1|IV2|C2``
each ciphertext has its own IV before it, so the plaintexts come out right, and what the IVs become is thrown away. The other
way round ``R1|P1|R2|P2`` with fresh random blocks R is encrypted, and what R becomes is the IV of the token: a block cipher
turns a uniform block, whatever it was xored with, into a uniform block that nobody can predict.

Limits: the texts of a batch have one length and the canonical base64 of stock Fernet, else the batch is Irregular. A token
that is not opened here (None) may still be one that stock Fernet opens: the caller asks it, and that answer counts.
Signatures are compared without a constant time: who could choose tokens does not see how long it took.

Sealing and opening share no code, so that opening a token proves it. In the tests stock Fernet judges both.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import itertools
import os
import struct
from collections.abc import Iterator, Sequence

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

VERSION = 0x80
BLOCK = 16
# version (1), time (8) and IV (16) stand before the ciphertext, the signature (32) behind it
SMALLEST = 1 + 8 + BLOCK + BLOCK + 32
PADDINGS = [bytes([length]) * length for length in range(BLOCK + 1)]


class Irregular(Exception):
    """A batch with a text that is not as stock Fernet writes it; its rows are for stock Fernet."""


# -- opening -------------------------------------------------------------------------------------------------------


def decode(texts: Sequence[bytes], layers: int) -> list[bytes]:
    """Take ``layers`` layers of base64 off texts of one length; Irregular where one is not canonical."""
    batch, width = b"".join(texts), len(texts[0])
    for _ in range(layers):
        batch, width = _without_layer(batch, width, len(texts))
    return [record for (record,) in struct.iter_unpack(f"{width}s", batch)]


def _without_layer(batch: bytes, width: int, rows: int) -> tuple[bytes, int]:
    if width % 4 or len(batch) != rows * width:
        raise Irregular
    text = bytearray(batch.translate(bytes.maketrans(b"-_", b"+/")))
    padding = width - len(batch[:width].rstrip(b"="))
    # decoding ends at the first "=", so each becomes "A", and what that decodes to goes away again
    for column in range(width - padding, width):
        if text[column::width] != b"=" * rows:
            raise Irregular
        text[column::width] = b"A" * rows
    try:
        content = bytearray(binascii.a2b_base64(text))
    except binascii.Error:
        raise Irregular from None
    size = width // 4 * 3
    # characters that base64 does not know are skipped without a word, and then bytes are missing
    if b"=" in text or len(content) != rows * size:
        raise Irregular
    for last in range(size, size - padding, -1):
        if any(content[last - 1 :: last]):
            raise Irregular
        del content[last - 1 :: last]
    return bytes(content), size - padding


def open_tokens(key: str, tokens: Sequence[bytes]) -> list[bytes | None]:
    """Return what decoded tokens of one length protect, by a Fernet key; None for each that it does not open."""
    if len(tokens[0]) < SMALLEST or (len(tokens[0]) - SMALLEST) % BLOCK:
        return [None] * len(tokens)
    halves = base64.urlsafe_b64decode(key)
    good = _signed(halves[:BLOCK], tokens)
    stream = b"".join([token[9:-32] for token in itertools.compress(tokens, good)])
    plain = Cipher(AES(halves[BLOCK:]), CBC(bytes(BLOCK))).decryptor().update(stream)
    padded = struct.iter_unpack(f"{BLOCK}x{len(tokens[0]) - 57}s", plain)
    contents = iter([_unpadded(record) for (record,) in padded])
    return [next(contents) if accepted else None for accepted in good]


def _signed(key: bytes, tokens: Sequence[bytes]) -> list[bool]:
    """Tell which tokens ``key`` has signed: HMAC (RFC 2104) by its definition, both hashes taken as far as the key goes."""
    block = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block)).copy
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block)).copy
    good = []
    for token in tokens:
        first, second = inner(), outer()
        first.update(token[:-32])
        second.update(first.digest())
        good.append(token[-32:] == second.digest() and token[0] == VERSION)
    return good


def _unpadded(record: bytes) -> bytes | None:
    length = record[-1]
    return record[:-length] if 0 < length <= BLOCK and record.endswith(PADDINGS[length]) else None


# -- sealing -------------------------------------------------------------------------------------------------------


def seal(key: str, times: Sequence[bytes], plaintexts: Sequence[bytes], layers: int) -> list[bytes]:
    """Return a token under a Fernet key for each plaintext, all of one length, in ``layers`` layers of base64.

    ``times`` are the times of encryption as tokens hold them: 8 bytes, the seconds since 1970.
    """
    signing, encryption = struct.unpack("16s16s", binascii.a2b_base64(key.replace("-", "+").replace("_", "/")))
    keyed = hmac.new(signing, digestmod="sha256").copy
    tokens = []
    for time, body in zip(times, _encrypted(encryption, plaintexts), strict=True):
        token = b"\x80" + time + body
        signature = keyed()
        signature.update(token)
        tokens.append(token + signature.digest())
    for _ in range(layers):
        tokens = _with_layer(tokens)
    return tokens


def _encrypted(key: bytes, plaintexts: Sequence[bytes]) -> Iterator[bytes]:
    """Yield IV and ciphertext for each plaintext."""
    missing = 16 - len(plaintexts[0]) % 16
    end = bytes([missing]) * missing
    random = [block for (block,) in struct.iter_unpack("16s", os.urandom(16 * len(plaintexts)))]
    stream = itertools.chain.from_iterable(zip(random, plaintexts, itertools.repeat(end)))
    encryptor = Cipher(AES(key), CBC(bytes(16))).encryptor()
    for (body,) in struct.iter_unpack(f"{16 + len(plaintexts[0]) + missing}s", encryptor.update(b"".join(stream))):
        yield body


def _with_layer(records: Sequence[bytes]) -> list[bytes]:
    """Add a layer of base64. Records are filled up to whole groups, and what the filling became is made "=" again."""
    missing = -len(records[0]) % 3
    width = (len(records[0]) + missing) // 3 * 4
    text = bytearray(binascii.b2a_base64(bytes(missing).join([*records, b""]), newline=False))
    for column in range(width - missing, width):
        text[column::width] = b"=" * len(records)
    url_safe = text.translate(bytes.maketrans(b"+/", b"-_"))
    return [record for (record,) in struct.iter_unpack(f"{width}s", url_safe)]
