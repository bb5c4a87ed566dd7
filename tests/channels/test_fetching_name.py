from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from turnkeeper.channels.fetching_name import name_of, safe_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("cat.png", "cat.png"),
        ("Grüße 猫 👩‍👩‍👧.jpeg", "Grüße 猫 👩‍👩‍👧.jpeg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\system.ini", "system.ini"),
        ("..", None),
        ("", None),
        ("/", None),
        (" . ", None),
        (".bashrc", "bashrc"),
        ("...hidden.txt", "hidden.txt"),
        ("a\x00b\x1b[2J\nc.txt", "ab[2Jc.txt"),
        ("\u202ecod.exe", "cod.exe"),
        ("photo\u2066gpj.exe", "photogpj.exe"),
        ("\u200e.bashrc", "bashrc"),
        ("a\ud800b", "ab"),
        ('a<b>:"|?*.txt', "a_b______.txt"),
        ("name. . ", "name"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("aux .tar.gz", "_aux .tar.gz"),
        ("COM1.log", "_COM1.log"),
        ("com¹", "_com¹"),
        ("LPT10.log", "LPT10.log"),
        ("console.log", "console.log"),
        ("x" * 300 + ".jpeg", "x" * 250 + ".jpeg"),
        ("ä" * 200 + ".jpg", "ä" * 125 + ".jpg"),
        ("猫" * 100, "猫" * 85),
        ("a." + "x" * 300, "a." + "x" * 253),
    ],
)
def test_a_name_is_made_safe(name: str, safe: str | None) -> None:
    assert safe_name(name) == safe


@given(st.text(max_size=400))
@example("con" + "." * 300 + "x")
@example("a" * 251 + " .jpg")
@example("nul." + "x" * 251)
def test_any_name_becomes_one_that_any_file_system_takes(name: str) -> None:
    safe = safe_name(name)
    if safe is None:
        return
    assert 0 < len(safe.encode()) <= 255
    assert not set(safe) & set('/\\\x00<>:"|?*\u202e\u2066')
    assert safe[0] not in " ."
    assert safe[-1] not in " ."
    assert safe.partition(".")[0].rstrip().lower() not in {"con", "nul", "aux", "com1"}
    assert safe_name(safe) == safe


@pytest.mark.parametrize(
    ("disposition", "path", "name"),
    [
        (None, "/photos/file_1.jpg", "file_1.jpg"),
        (None, "/photos/a%2Fb%20c.jpg", "b c.jpg"),
        (None, "/", None),
        ('attachment; filename="cat.png"', "/x", "cat.png"),
        ('attachment; filename="../../cat.png"', "/x", "cat.png"),
        ("attachment; filename*=UTF-8''%e7%8c%ab.png", "/x", "猫.png"),
        ("attachment; filename*=no-such-code''%ff.png", "/x.bin", None),
        ("attachment", "/x.bin", "x.bin"),
        ('attachment; filename=""', "/x.bin", "x.bin"),
        ("attachment; filename=a\r\nb", "/x.bin", "ab"),
    ],
)
def test_a_host_names_its_file_in_a_header_or_in_the_path(
    disposition: str | None, path: str, name: str | None
) -> None:
    found = name_of(disposition, path)
    assert found == name or (name is None and found is not None and "/" not in found)


def test_a_header_that_would_take_seconds_to_read_is_not_read() -> None:
    assert name_of('attachment; filename="' + ";" * 99_000, "/x.bin") == "x.bin"
    long = quote("猫" * 250) + ".png"
    assert name_of(f"attachment; filename*=UTF-8''{long}", "/x.bin") == "猫" * 83 + ".png"
