"""Text for people: numbers with their words."""

from resnet_repro.text import count


def test_words_agree_with_their_number():
    said = [count(number, noun) for number in (1, 2) for noun in ("run", "process")]
    assert said == ["1 run", "1 process", "2 runs", "2 processes"]
