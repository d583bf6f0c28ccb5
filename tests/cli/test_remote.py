"""The commands that speak to a hub, run against a real one on simulated clusters: words, forms, exit codes."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from hubworld import HubWorld, cluster_file, config_map, kustomization, make_world, namespace, overlay

from fleet.cli import start
from fleet.cli.app import app, run
from fleet.cli.output import age, clean, clean_line, jsonpath, show
from fleet.core.forecast import Course, Leg, encode_courses
from fleet.core.ids import ClusterName, UnitName
from fleet.core.status import Event, EventKind
from fleet.errors import UsageInvalid

Command = Callable[..., Any]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, ("eu-1", "eu-2")) as made:
        files = {f"clusters/{name}.yaml": cluster_file(name) for name in ("eu-1", "eu-2")}
        files |= overlay("overlays/web", {"one": config_map("one", "1")})
        files |= overlay(
            "overlays/shop", {"ns": namespace("shop"), "cm": config_map("c", "1", "shop")},
            clusters="[{names: [eu-1]}]",
        )  # fmt: skip
        made.commit(files, "first light")
        async with made.run():
            await made.until_everywhere(made.repo.head())
            yield made


@pytest.fixture
def fleet(world: HubWorld, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in a thread: exit code, standard output, standard error."""
    monkeypatch.setenv("FLEET_HUB", world.url)
    monkeypatch.setenv("FLEET_TOKEN", world.token)

    def blocking(arguments: tuple[str, ...]) -> tuple[int, str, str]:
        out, problems = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(problems):
            code = run(list(arguments))
        assert "Traceback" not in problems.getvalue()
        return code, out.getvalue(), problems.getvalue()

    async def command(*arguments: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(blocking, arguments)

    return command


async def test_each_form_of_output(fleet: Command) -> None:
    code, text, _ = await fleet("get", "clusters")
    assert code == 0
    lines = text.splitlines()
    assert lines[0].split() == ["CLUSTER", "ENV", "SYNC", "HEALTH", "COMMIT", "SEEN", "MESSAGE"]
    assert lines[1].split()[:4] == ["eu-1", "prod", "Synced", "Healthy"]
    assert lines[-1] == "2 clusters: 2 on main"
    _, text, _ = await fleet("get", "units", "-o", "json")
    assert {item["metadata"]["name"] for item in json.loads(text)["items"]} == {"web@eu-1", "web@eu-2", "shop@eu-1"}
    _, text, _ = await fleet("get", "unit", "web@eu-1", "-o", "yaml")
    assert yaml.safe_load(text)["status"]["objects"][0]["name"] == "one"
    _, text, _ = await fleet("get", "units", "-l", "region=eu", "--overlay", "shop", "-o", "name")
    assert text == "unit/shop@eu-1\n"
    _, text, _ = await fleet("get", "units", "-o", "jsonpath={.items[*].status.sync}")
    assert text == "Synced Synced Synced\n"
    _, text, _ = await fleet("get", "clusters", "-o", "wide")
    assert "IDENTITY" in text.splitlines()[0]
    for kind in ("overlays", "holds", "events", "operations"):
        assert (await fleet("get", kind))[0] == 0


async def test_exit_codes_say_what_went_wrong(fleet: Command, world: HubWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await fleet("get", "nonsense"))[0] == 2
    assert (await fleet("get", "units", "-o", "nonsense"))[0] == 2
    assert (await fleet("no-such-command"))[0] == 2
    code, _, problem = await fleet("get", "unit", "nope@eu-1")
    assert (code, problem.splitlines()[0]) == (3, "error[NotKnown] there is no unit nope@eu-1")
    assert (await fleet("wait", "--commit", "f" * 40, "--timeout", "1s"))[0] == 5
    assert (await fleet("status"))[0] == 0
    world.sim.cluster("eu-2").faults.add("refuse")
    await world.until(lambda: not world.opened.view.clusters["eu-2"].reachable)
    code, text, _ = await fleet("status")
    assert code == 6
    assert "eu-2 unreachable: " in text
    _, viewer, _ = await fleet("token", "create", "reader", "--role", "viewer")
    monkeypatch.setenv("FLEET_TOKEN", viewer.strip())
    assert (await fleet("get", "clusters"))[0] == 0
    code, _, problem = await fleet("suspend", "fleet", "--reason", "x")
    assert (code, "needs the role operator" in problem) == (4, True)
    monkeypatch.setenv("FLEET_TOKEN", "fleet_nobody")
    assert (await fleet("status"))[0] == 4
    monkeypatch.setenv("FLEET_HUB", "http://127.0.0.1:9")
    code, _, problem = await fleet("status")
    assert (code, "refuses connections" in problem) == (1, True)


async def test_a_commit_is_waited_for_and_those_who_lag_are_named(fleet: Command, world: HubWorld) -> None:
    second = world.commit({"overlays/web/one.yaml": config_map("one", "2")})
    code, text, _ = await fleet("wait", "--commit", second, "--timeout", "30s")
    assert (code, f"{second[:7]} is on all 3 units" in text) == (0, True)
    await fleet("suspend", "cluster", "eu-2", "--reason", "disk swap")
    third = world.commit({"overlays/web/one.yaml": config_map("one", "3")})
    code, _, problem = await fleet("wait", "--commit", third, "--timeout", "4s")
    assert code == 5
    assert "web@eu-2: suspended by local-admin: disk swap" in problem
    assert "web@eu-1" not in problem
    assert (await fleet("resume", "cluster", "eu-2"))[0] == 0
    assert (await fleet("wait", "--commit", third, "--timeout", "30s"))[0] == 0


async def test_a_hold_is_shown_approved_and_carried_out(fleet: Command, world: HubWorld) -> None:
    gone = {
        "overlays/shop/ns.yaml": None,
        "overlays/shop/cm.yaml": config_map("c", "1"),
        "overlays/shop/kustomization.yaml": kustomization("cm.yaml"),
    }
    world.commit(gone)
    held = await world.until(lambda: world.unit("shop@eu-1") is not None and world.unit("shop@eu-1").holds)
    assert held
    hold = await _first_hold(world)
    _, text, _ = await fleet("describe", "hold", hold["metadata"]["name"])
    assert "Namespace shop" in text
    line = next(line for line in text.splitlines() if line.startswith("approve"))
    words = line.removeprefix("approve").split()
    assert words[:2] == ["fleet", "approve"]
    assert (await fleet(*words[1:5]))[0] == 0
    await world.until(lambda: world.sim.cluster("eu-1").get("", "Namespace", "", "shop") is None, "deleted")
    code, text, _ = await fleet("history", "--audit")
    assert (code, "hold-approved" in text) == (0, True)


async def test_a_wipe_shows_what_goes_and_asks_for_the_name(fleet: Command, world: HubWorld) -> None:
    code, _, problem = await fleet("wipe", "web@eu-1", "--reason", "retired", "--confirm", "web@eu-1")
    assert code == 1
    assert "Git wants web@eu-1" in problem
    assert "fleet suspend unit web@eu-1" in problem
    assert (await fleet("suspend", "unit", "web@eu-1", "--reason", "to be wiped"))[0] == 0
    await world.until(lambda: world.unit("web@eu-1").blocked_by, "suspended")
    world.commit(dict.fromkeys(overlay("overlays/web", {"one": ""})))
    async with asyncio.timeout(20):
        while not (await world.call("GET", "/api/v1/leaving"))[1]["items"]:
            await asyncio.sleep(0.02)
    code, text, problem = await fleet("wipe", "web@eu-1", "--reason", "retired")
    assert code == 2
    assert "ConfigMap default/one" in text
    assert "--confirm web@eu-1" in problem
    code, _, problem = await fleet("wipe", "web@eu-1", "--reason", "retired", "--confirm", "web@eu-2")
    assert code != 0
    assert (await world.call("GET", "/api/v1/operations"))[1]["items"] == []
    code, text, _ = await fleet("wipe", "web@eu-1", "--reason", "retired", "--confirm", "web@eu-1")
    assert code == 0
    assert "fleet get holds" in text


async def _first_hold(world: HubWorld) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            _, answer = await world.call("GET", "/api/v1/holds?openOnly=true")
            if answer["items"]:
                return answer["items"][0]


async def test_actions_say_what_they_did(fleet: Command, world: HubWorld) -> None:
    code, text, _ = await fleet("sync", "web@eu-1", "--timeout", "20s")
    assert (code, text.startswith("web@eu-1 done")) == (0, True)
    assert (await fleet("refresh"))[1] == "Git is asked now\n"
    assert (await fleet("suspend", "unit", "web@eu-1", "--reason", "x"))[0] == 0
    assert (await fleet("resume", "unit", "web@eu-1"))[1] == "unit web@eu-1 goes on\n"
    for lifts in (("--owner", "local-admin"), ("--all",)):
        assert (await fleet("suspend", "cluster", "eu-2", "--reason", "x"))[0] == 0
        code, _, problem = await fleet("resume", "cluster", "eu-2", "--owner", "jo")
        assert (code, "fleet resume cluster eu-2 --owner local-admin, or --all" in problem) == (1, True)
        assert (await fleet("resume", "cluster", "eu-2", *lifts))[1] == "cluster eu-2 goes on\n"
    assert (await fleet("suspend", "planet", "earth", "--reason", "x"))[0] == 2
    identity = world.sim.cluster("eu-1").identity
    assert (await fleet("cluster", "identity", "eu-1"))[1] == identity + "\n"
    assert (await fleet("cluster", "identity", "eu-2", "--accept", identity))[0] == 1
    assert (await fleet("recover"))[1] == "No cluster waits for a recovery.\n"
    assert (await fleet("token", "list"))[0] == 0
    assert (await fleet("credential", "list"))[0] == 0
    for kind, name in (("unit", "web@eu-1"), ("cluster", "eu-1"), ("overlay", "web")):
        code, text, _ = await fleet("describe", kind, name)
        assert (code, text.startswith(name)) == (0, True)


async def test_foreign_text_steers_no_terminal_and_makes_no_rows(fleet: Command, world: HubWorld) -> None:
    name, evil = UnitName.parse("web@eu-1"), "\x1b[2J\x9b31m\u202eevil\nFAKE  row"
    await world.opened.adapters.state.add_events([Event(1.0, EventKind.NOTE, ClusterName("eu-1"), name, evil)])
    for form in ("table", "json", "yaml", "jsonpath={.items[*].message}"):
        code, text, _ = await fleet("history", "-o", form)
        assert code == 0
        assert not {"\x1b", "\x9b", "\u202e"} & set(text), form
    code, text, _ = await fleet("history", "-o", "json")
    assert evil in [item["message"] for item in json.loads(text)["items"]]
    _, text, _ = await fleet("history")
    assert not any(line.startswith("FAKE") for line in text.splitlines())


async def test_a_token_never_travels_in_clear(fleet: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_HUB", "http://hub.example:8080")
    code, _, problem = await fleet("status")
    assert (code, "would send your token in clear" in problem) == (2, True)
    for address in ("hub.example", "ftp://hub.example", "http://127.0.0.1:99999", "http://[::1"):
        monkeypatch.setenv("FLEET_HUB", address)
        assert (await fleet("status"))[0] == 2, address
    monkeypatch.setenv("FLEET_HUB", "http://127.0.0.1:1")
    monkeypatch.setenv("FLEET_TOKEN", "a\nb")
    assert (await fleet("status"))[0] == 2


async def test_a_live_plan_estimates_by_what_the_hub_remembers_and_says_when_it_cannot_ask(
    fleet: Command, world: HubWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [json.loads(world.sim.kubeconfig(name)) for name in ("eu-1", "eu-2")]
    for name, config in zip(("eu-1", "eu-2"), configs, strict=True):
        config["contexts"][0]["name"] = config["clusters"][0]["name"] = config["users"][0]["name"] = name
        config["contexts"][0]["context"] |= {"cluster": name, "user": name}
    merged = {kind: [one for config in configs for one in config[kind]] for kind in ("contexts", "clusters", "users")}
    (tmp_path / "kubeconfig").write_text(json.dumps({**configs[0], **merged}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    here = tmp_path / "here"
    subprocess.run(["git", "clone", "-q", str(world.repo.path), str(here)], check=True)
    monkeypatch.chdir(here)
    (here / "overlays/web/one.yaml").write_text(config_map("one", "2"))

    steps = "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\nspec:\n  rollout:\n    steps: "
    (here / "fleet.yaml").write_text(steps + "[{name: prod, rest: true}]\n")

    async def estimated(hub: str) -> str:
        code, text, problem = await fleet("plan", "--live", "--hub", hub, "-o", "json")
        assert code == 1, problem
        found = json.loads(text)
        assert [look["problem"] for look in found["live"]["clusters"]] == [None, None]
        (course,) = found["rollout"]
        return f"{course['overlay']}: {course['estimate']['basis']}"

    kept = [Course({"prod": Leg(1, 40.0 + turn, (40.0 + turn,))}) for turn in range(9)]
    assert await estimated(world.url) == "web: no forecast for web: no history"
    await world.opened.adapters.state.set_value("courses/web", encode_courses(kept))
    _, text, _ = await fleet("plan", "--live", "--hub", world.url)
    assert "40-48 s (80 %, from 9 earlier rollouts of web)" in text
    assert "the hub was not asked: " in await estimated("http://127.0.0.1:9")


# Without a hub


def test_the_list_of_commands_names_each_once_and_needs_no_parser() -> None:
    text = (Path(start.__file__).parent / "help.txt").read_text()
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("  ") and line[2] != " "]
    known = [name for name in app if not name.startswith("-")]
    assert sorted(listed) == sorted(known)
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize("arguments", [["version"], ["--help"], []])
def test_quick_answers_import_no_parser(arguments: list[str]) -> None:
    code = (
        "import sys; from fleet.cli.start import main; main(); "
        "sys.stderr.write(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert not {"cyclopts", "rich", "pydantic", "aiohttp", "yaml"} & set(done.stderr.split())


def test_reading_commands_import_neither_server_nor_schemas() -> None:
    code = (
        "import sys; from fleet.cli.app import run; run(['get', 'clusters', '--hub', 'http://127.0.0.1:9']); "
        "sys.stderr.write('\\n' + ' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"rich", "pydantic", "aiohttp", "yaml"} & set(done.stderr.splitlines()[-1].split())


def test_no_hub_is_said_with_the_next_command(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    environment.pop("FLEET_HUB", None)
    code = "import sys; from fleet.cli.app import run; sys.exit(run(['status']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "error[HubUnreachable] no hub is known here" in done.stderr


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0s"), (-3, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (172800, "2d")],
)
def test_ages_are_short(seconds: float | None, text: str) -> None:
    assert age(seconds) == text


def test_paths_into_documents_are_kubectls() -> None:
    document = {"items": [{"metadata": {"name": "a", "x.y": 1}}, {"metadata": {"name": "b"}}]}
    assert jsonpath(document, "{.items[*].metadata.name}") == "a b"
    assert jsonpath(document, "{$.items[0].metadata['x.y']}") == "1"
    assert jsonpath(document, ".items[7].metadata") == ""
    with pytest.raises(UsageInvalid):
        jsonpath(document, "{.items[?(@.a)]}")


def test_a_line_is_one_line() -> None:
    assert clean_line("a\r\nb\tc\x1b") == "a b c\N{REPLACEMENT CHARACTER}"
    assert clean("a\nb\tc") == "a\nb\tc"


def test_yaml_with_control_characters_is_escaped_and_means_the_same() -> None:
    out = io.StringIO()
    show({"message": "a\u202eb\x9b"}, "yaml", (), out)
    assert not {"\u202e", "\x9b"} & set(out.getvalue())
    assert yaml.safe_load(out.getvalue()) == {"message": "a\u202eb\x9b"}
