"""Which commits contain which: Git is asked once for all of them, and what it cannot tell is not guessed."""

from __future__ import annotations

from fleet.controllers import ancestry
from fleet.controllers.ancestry import Ancestry
from fleet.core.ids import Revision
from fleet.errors import RefMissing

LINE = [Revision(f"{number:040x}") for number in range(1, 1001)]
ASIDE = Revision("f" * 40)


class Counted:
    """A fake `Source` of one line of commits that counts what it is asked."""

    def __init__(self, *, lost: bool = False) -> None:
        self.asked, self.lost = 0, lost

    async def since(self, older: Revision, newer: Revision) -> frozenset[Revision]:
        self.asked += 1
        if self.lost:
            raise RefMissing("the mirror lacks it")
        return frozenset(LINE[LINE.index(older) : LINE.index(newer) + 1])


async def test_git_is_asked_once_however_many_commits_are_held() -> None:
    source = Counted()
    known = Ancestry(source)
    for _ in range(3):
        assert await known.containing(LINE[300], {*LINE[:900], ASIDE}, LINE[-1]) == set(LINE[300:900])
    assert source.asked == 1
    assert await known.containing(LINE[300], LINE[899:], LINE[-1]) == set(LINE[899:]), "and for what is new once more"
    assert source.asked == 2


async def test_what_git_cannot_tell_is_none_of_them_and_is_asked_again() -> None:
    source = Counted(lost=True)
    known = Ancestry(source)
    assert await known.containing(LINE[0], LINE[:5], LINE[-1]) == frozenset()
    source.lost = False
    assert await known.containing(LINE[0], LINE[:5], LINE[-1]) == set(LINE[:5])


async def test_what_is_remembered_has_a_bound(monkeypatch) -> None:
    monkeypatch.setattr(ancestry, "KEPT", 10)
    source = Counted()
    known = Ancestry(source)
    for older in LINE[:20]:
        assert await known.containing(older, LINE[:8], LINE[-1]) == set(LINE[:8]) - set(LINE[: LINE.index(older)])
        assert len(known._known) <= 10
