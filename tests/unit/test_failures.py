"""What a module and an action say of what went wrong."""

from __future__ import annotations

from keyturn.entry.module import attempt


def test_a_defect_is_told_by_its_place_with_the_ways_out_and_no_text_of_a_library() -> None:
    def fail() -> dict[str, object]:
        raise KeyError("a-secret-value")

    result, failure = attempt(fail)
    assert result == {}
    assert failure.startswith("keyturn has a defect: KeyError at test_failures.py:")
    assert failure.endswith(
        "; if a rotation stays open, end it with resume.yml (on the new value) or rollback.yml (on the old one)"
    )
    assert "a-secret-value" not in failure


def test_what_a_host_does_not_have_is_named_with_the_remedy() -> None:
    def fail() -> dict[str, object]:
        raise ModuleNotFoundError("No module named 'cryptography'", name="cryptography")

    _, failure = attempt(fail)
    assert "has no cryptography: on a host install python3-cryptography" in failure
    assert "ansible_python_interpreter" in failure
