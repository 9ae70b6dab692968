"""How a file is parted, and the token that stands for its upload."""

import pytest
from msgspec.structs import replace

from audio_text.domain.multipart import (
    MAX_PART_BYTES,
    MIB,
    MIN_PART_BYTES,
    MOST_PARTS,
    USUAL_PART_BYTES,
    USUAL_PARTS,
    MultipartUpload,
    check_part_size,
    in_words,
    usual_part_size,
)
from audio_text.errors import ConfigurationError, InvalidRequestError, UploadNotFoundError

UPLOAD = MultipartUpload(key="uploads/2b/2b9c.wav", size_bytes=25, part_size=10, expires=9, store_id="2~x", sha256="ab")


@pytest.mark.parametrize(("size", "sizes"), [(1, [1]), (10, [10]), (11, [10, 1]), (25, [10, 10, 5]), (30, [10] * 3)])
def test_the_last_part_has_the_rest(size: int, sizes: list[int]) -> None:
    upload = replace(UPLOAD, size_bytes=size)
    numbers = range(1, upload.part_count + 1)
    assert [upload.size_of(number) for number in numbers] == sizes
    assert [upload.offset_of(number) for number in numbers] == [sum(sizes[:index]) for index in range(len(sizes))]


@pytest.mark.parametrize("number", [-1, 0, 4])
def test_there_are_no_other_parts(number: int) -> None:
    with pytest.raises(InvalidRequestError, match="1 to 3"):
        UPLOAD.size_of(number)


def test_what_is_missing_is_told_in_few_words() -> None:
    assert UPLOAD.missing({2}) == [1, 3]
    assert in_words([]) == ""
    assert in_words([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
    assert in_words(range(1, MOST_PARTS, 2)).endswith("37, 39, ...")


def test_a_token_says_all_and_only_its_secret_reads_it() -> None:
    token = UPLOAD.token("secret")
    assert MultipartUpload.from_token(token, "secret") == UPLOAD
    for wrong in (token[:-4], f"{token}AAAA", token.swapcase(), "", "a", "\n", f" {token}"):
        with pytest.raises(UploadNotFoundError):
            MultipartUpload.from_token(wrong, "secret")
    with pytest.raises(UploadNotFoundError):
        MultipartUpload.from_token(token, "another")
    with pytest.raises(ConfigurationError):
        UPLOAD.token("")


@pytest.mark.parametrize("size", [1, USUAL_PARTS * USUAL_PART_BYTES, 5 * 1024**3, 80 * 1024**3 + 1, 4 * 1024**4])
def test_the_usual_part_size_is_one_that_every_store_takes(size: int) -> None:
    part_size = usual_part_size(size)
    assert part_size % MIB == 0
    assert part_size >= USUAL_PART_BYTES
    assert -(-size // part_size) <= USUAL_PARTS
    check_part_size(part_size, size)


@pytest.mark.parametrize(
    ("part_size", "size"),
    [(MIN_PART_BYTES - 1, 9), (MAX_PART_BYTES + 1, 9), (MIN_PART_BYTES, MIN_PART_BYTES * MOST_PARTS + 1)],
)
def test_a_part_size_that_no_store_takes_is_refused(part_size: int, size: int) -> None:
    with pytest.raises(InvalidRequestError):
        check_part_size(part_size, size)
