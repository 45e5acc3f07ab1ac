"""Passwords and tokens in texts: masked in every spelling, and nothing else is."""

import pytest

from edgevpr.redact import redact, redact_address

SECRET = "s3cret"


@pytest.mark.parametrize(
    "source",
    [
        "http://admin:s3cret@127.0.0.1:9/v.mjpg",
        "RTSP://admin:s3cret@127.0.0.1:9/x",
        "rtsps://s3cret@host/x",
        "https://user:s3cr%40et-s3cret@host/x",
        "rtsp://admin:a@s3cret@host/x",
        "rtsp://admin:s3cret/s3cret#s3cret@host/x",
        "rtsp://admin:s3cret?s3cret@host:554/x",
        "rtsp://:s3cret@host/x",
        "rtsp://[fe80::1]/x?token=s3cret",
        "rtsp://127.0.0.1:9/user=admin&password=s3cret&channel=1",
        "rtsp://h/user=admin_password=s3cret_channel=1_stream=0.sdp",
        "rtsp://127.0.0.1:9/x?password=s3cret",
        "rtsp://h/x?PassWord=s3cret&a=1",
        "http://h/x?user=a&pwd=s3cret",
        "http://h/x?loginuse=a&loginpas=s3cret",
        "http://h/x?accessToken=s3cret",
        "http://h/x?api_key=s3cret&key=s3cret;sig=s3cret",
        "http://h/x?auth%3Ds3cret",
        "srt://h:9?passphrase=s3cret",
        "gst:rtspsrc location=rtsp://admin:s3cret@127.0.0.1:9/x ! decodebin",
        "gst:rtspsrc location=rtsp://h/x user-id=a user-pw=s3cret ! decodebin",
        'gst:rtspsrc user-pw = "my s3cret" proxy-pw=s3cret ! decodebin',
        r"gst:rtspsrc user-pw=my\ s3cret ! decodebin",
        "gst:rtspsrc user-pw=(string)s3cret ! decodebin",
        "gst:srtsrc passphrase=s3cret ! decodebin",
        "rtsp:/admin:s3cret@host/x",
    ],
)
def test_secrets_are_masked(source: str) -> None:
    for text in (redact_address(source), redact(f"found that {source} is gone, expected a camera")):
        assert SECRET not in text
        assert "***" in text
        assert redact(text) == text


@pytest.mark.parametrize("source", ["rtsp://admin:my s3cret@host/x", "admin:s3cret@host/x"])
def test_whole_addresses_that_are_badly_written(source: str) -> None:
    assert SECRET not in redact_address(source)


def test_what_is_left_names_the_camera() -> None:
    assert redact("RTSP://admin:s3cret@10.0.0.7:554/a?token=x&b=1") == (
        "RTSP://admin:***@10.0.0.7:554/a?token=***&b=1"
    )
    assert redact("rtspsrc user-id=a user-pw=x location=rtsp://h/x ! decodebin") == (
        "rtspsrc user-id=a user-pw=*** location=rtsp://h/x ! decodebin"
    )


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://10.0.0.7:554/cam@1",
        "rtsp://[fe80::1]:554/cam@1",
        "http://host/@user?keyframe=1",
        "file:///data/@0549000@6250000@33@U@@@.png",
        "found images:/data/@0549000@6250000@33@U@@@.png",
        "v4l2:///dev/video0?width=1280&fps=30",
        "found `top` 0, expected 1 or more: pass `top` 5",
        "found no token, expected one: set HF_TOKEN",
        "nprobe=16,k_factor_rf=4",
        "2024-01-01T12:00:00@night.mp4",
        "edgevpr build b --host user@board",
    ],
)
def test_the_rest_is_left_alone(text: str) -> None:
    assert redact(text) == text
    assert redact_address(text) == text


@pytest.mark.parametrize("unit", ["a", "a://", "ab://x:", "password", "a.", "?pass=", "\\"])
def test_long_words(unit: str) -> None:
    """A quarter of a million characters without a blank: a pattern that looks back hangs here."""
    text = unit * (250_000 // len(unit)) + "@=x"
    assert redact(redact_address(text)) == redact_address(text)
