"""`fleet plan` of an overlay under another name, and of an object that goes to another one, with an edit beside it."""

from __future__ import annotations

from cli.planrepo import BASE, Repo

KEPT = "spec.selector cannot be changed in place: the apply fails"


def edit(repo: Repo, path: str) -> None:
    repo.edit(path, "web:1.7.4", "web:1.8.0")
    text = (repo.root / path).read_text()
    head, mark, rest = text.partition('"kind": "Deployment"')
    web, line, others = rest.partition("---\n")
    assert '"app.kubernetes.io/name": "web"' in web
    app = web.replace('"app.kubernetes.io/name": "web"', '"app.kubernetes.io/name": "shop"')
    (repo.root / path).write_text(head + mark + app + line + others)


def test_an_overlay_that_is_renamed_tells_what_changes_beside(repo: Repo) -> None:
    repo.git("mv", "overlays/web", "overlays/shop")
    code, text = repo.plan()
    assert code == 1
    assert "In all      0 objects change, none is deleted, none is created\n" in text, "twin: the name alone"
    edit(repo, BASE.replace("overlays/web", "overlays/shop") + "/web.yaml")
    code, text = repo.plan()
    assert code == 1
    assert "taken over from overlay web" in text
    assert KEPT in text
    assert "image reg.example/web:1.7.4 -> 1.8.0" in text
    assert "In all      7 objects change, none is deleted, none is created\n" in text, "no pod restarts: it fails"


def test_an_object_that_goes_to_another_overlay_tells_what_changes_beside(repo: Repo) -> None:
    repo.edit(f"{BASE}/kustomization.yaml", "[web.yaml, cache.yaml]", "[cache.yaml]")
    repo.git("mv", f"{BASE}/web.yaml", "overlays/dns/web.yaml")
    text = (repo.root / "overlays/dns/web.yaml").read_text()
    text = text.replace('"envFrom": [{"configMapRef": {"name": "web-cfg"}}],', "").replace(
        '"name": "web"\n  }', '"name": "web", "namespace": "shop"\n  }'
    )
    (repo.root / "overlays/dns/web.yaml").write_text(text)
    repo.edit(
        "overlays/dns/kustomization.yaml", "namespace: dns\nresources: [dns.yaml]", "resources: [dns.yaml, web.yaml]"
    )
    repo.edit("overlays/dns/dns.yaml", '"name": "dns"\n  }', '"name": "dns", "namespace": "dns"\n  }')
    edit(repo, "overlays/dns/web.yaml")
    code, text = repo.plan()
    assert code == 1
    assert "taken over from overlay web" in text
    assert KEPT in text
    assert "image reg.example/web:1.7.4 -> 1.8.0" in text
    assert "In all      7 objects change, none is deleted, none is created\n" in text, "no pod restarts: it fails"
