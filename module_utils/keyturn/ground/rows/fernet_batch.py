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

Sealing and opening share no code, so that opening a token proves it. Both make HMAC of its two hashes, so the library's own judges
the first signature of each batch. In the tests stock Fernet judges all.
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

from ...base.errors import KeyturnError

VERSION = 0x80
BLOCK = 16
# version (1), time (8) and IV (16) stand before the ciphertext, the signature (32) behind it
SMALLEST = 1 + 8 + BLOCK + BLOCK + 32
PADDINGS = [bytes([length]) * length for length in range(BLOCK + 1)]
# what fills up a plaintext, by its length modulo 16
ENDS = [bytes([16 - length]) * (16 - length) for length in range(16)]
# a key xored with one of them is what the inner and the outer hash of an HMAC begin with (RFC 2104)
MASKS = tuple(bytes(byte ^ mask for byte in range(256)) for mask in (0x36, 0x5C))
STANDARD = bytes.maketrans(b"-_", b"+/")


class Irregular(Exception):
    """A batch with a text that is not as stock Fernet writes it; its rows are for stock Fernet."""


# -- opening -------------------------------------------------------------------------------------------------------


def decode(texts: Sequence[bytes], layers: int) -> list[bytes]:
    """Take ``layers`` layers of base64 off texts of one length; Irregular where one is not canonical."""
    return decode_column(b"".join(texts), len(texts[0]), layers)


def decode_column(texts: bytes, width: int, layers: int) -> list[bytes]:
    """Do what ``decode`` does for texts that stand one behind the other."""
    rows = len(texts) // width
    for _ in range(layers):
        texts, width = _without_layer(texts, width, rows)
    return [record for (record,) in struct.iter_unpack(f"{width}s", texts)]


def _without_layer(batch: bytes, width: int, rows: int) -> tuple[bytes, int]:
    if width % 4 or len(batch) != rows * width:
        raise Irregular
    text = bytearray(batch.translate(STANDARD))
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
    contents = _unpadded(plain, len(tokens[0]) - 57)
    if all(good):
        return contents
    each = iter(contents)
    return [next(each) if accepted else None for accepted in good]


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


def _unpadded(plain: bytes, size: int) -> list[bytes | None]:
    """Return the contents of records of ``size`` bytes, each behind a block that is nothing; None where one is not padded."""
    width = BLOCK + size
    ends = plain[width - 1 :: width]
    length = ends[0] if ends else 0
    if 0 < length <= BLOCK and all(
        plain[width - place :: width] == ends[:1] * len(ends) for place in range(1, length + 1)
    ):
        return [content for (content,) in struct.iter_unpack(f"{BLOCK}x{size - length}s{length}x", plain)]
    return [_content(record) for (record,) in struct.iter_unpack(f"{BLOCK}x{size}s", plain)]


def _content(record: bytes) -> bytes | None:
    length = record[-1]
    return record[:-length] if 0 < length <= BLOCK and record.endswith(PADDINGS[length]) else None


# -- sealing -------------------------------------------------------------------------------------------------------


def seal(key: str, times: Sequence[bytes], plaintexts: Sequence[bytes], layers: int) -> list[bytes]:
    """Return a token under a Fernet key for each plaintext, in ``layers`` layers of base64.

    The plaintexts fill the same number of blocks, so that the tokens have one length. ``times`` are the times of encryption as
    tokens hold them: 8 bytes, the seconds since 1970.
    """
    texts = seal_column(key, times, plaintexts, layers)
    return [text for (text,) in struct.iter_unpack(f"{len(texts) // len(plaintexts)}s", texts)]


def seal_column(key: str, times: Sequence[bytes], plaintexts: Sequence[bytes], layers: int) -> bytes:
    """Do what ``seal`` does, and return the texts one behind the other."""
    signing, encryption = struct.unpack("16s16s", binascii.a2b_base64(key.replace("-", "+").replace("_", "/")))
    padded = signing + bytes(48)
    inside, outside = (hashlib.sha256(padded.translate(mask)).copy for mask in MASKS)
    parts: list[bytes] = []
    for time, body in zip(times, _encrypted(encryption, plaintexts), strict=True):
        token = b"\x80" + time + body
        message, signature = inside(), outside()
        message.update(token)
        signature.update(message.digest())
        parts += token, signature.digest()
    if parts[1] != hmac.digest(signing, parts[0], "sha256"):
        raise KeyturnError("a signature of this host is not the HMAC-SHA256 of its own library: its Python is broken")
    texts, width = b"".join(parts), len(parts[0]) + 32
    for _ in range(layers):
        texts, width = _with_layer(texts, width)
    return texts


def _encrypted(key: bytes, plaintexts: Sequence[bytes]) -> Iterator[bytes]:
    """Yield IV and ciphertext for each plaintext."""
    random = [block for (block,) in struct.iter_unpack("16s", os.urandom(16 * len(plaintexts)))]
    ends = [ENDS[len(plaintext) % 16] for plaintext in plaintexts]
    stream = b"".join(itertools.chain.from_iterable(zip(random, plaintexts, ends, strict=True)))
    encryptor = Cipher(AES(key), CBC(bytes(16))).encryptor()
    for (body,) in struct.iter_unpack(f"{len(stream) // len(plaintexts)}s", encryptor.update(stream)):
        yield body


def _with_layer(records: bytes, width: int) -> tuple[bytes, int]:
    """Add a layer of base64. Records are filled up to whole groups, and what the filling became is made "=" again."""
    missing, rows = -width % 3, len(records) // width
    if missing:
        filled = struct.iter_unpack(f"{width}s", records)
        records = bytes(missing).join([*(record for (record,) in filled), b""])
    width = (width + missing) // 3 * 4
    text = bytearray(binascii.b2a_base64(records, newline=False))
    for column in range(width - missing, width):
        text[column::width] = b"=" * rows
    return bytes(text.translate(bytes.maketrans(b"+/", b"-_"))), width
