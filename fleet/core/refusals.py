"""The refusal table: every guard that may say no, the rule it keeps, where it decides, and what it says.

It is read for the rule that stands beside each refusal in metric and audit log. Nothing here can switch a guard off;
that each of them is needed is shown by switching it off in a copy of the code (docs/refusals.md).
"""

from __future__ import annotations

from functools import lru_cache

from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class Guard:
    """One place that refuses.

    rules: of the threat model, the first is the one it is named by; decides: `module:function`, or a module's value;
    says: names of classes in fleet/errors.py or reasons of holds, "" where it works without a word.
    """

    name: str
    rules: tuple[str, ...]
    decides: str
    says: tuple[str, ...] = ()


def _part(module: str, *rows: tuple[str, str, str, str]) -> tuple[Guard, ...]:
    """Guards of one package: name, rules, where below `fleet.`, what it says."""
    return tuple(
        Guard(name, tuple(rules.split()), f"fleet.{module}.{decides}", tuple(says.split()))
        for name, rules, decides, says in rows
    )


GUARDS: tuple[Guard, ...] = (
    *_part(
        "kube",
        ("another cluster answers", "R1", "identity:IdentityRule.judge", "IdentityMismatch"),
        ("the identity cannot be read", "R1", "identity:IdentityRule.judge", "IdentityUnreadable"),
        ("a late write is proven anew", "R1", "identity:IdentityRule.is_due", ""),
        ("time asleep counts", "R1", "identity:IdentityRule.is_due", ""),
        ("a new certificate is proven", "R1", "wire:Proof.knows", ""),
        ("a proof bears its own line's credential", "R1 R32", "transport:Transport._prove_line", ""),
        ("what is no document is no answer", "R5", "answers:document_of", "AnswerInvalid"),
        ("only the object's own 404 is absence", "R5 R20", "answers:is_absent", ""),
        ("what is no list is not an empty one", "R5 R19", "objects:_list_of", "AnswerInvalid"),
        ("items that are no objects", "R5", "objects:_items", "AnswerInvalid"),
        ("an answer is about the object", "R5 R12", "objects:_whole", "AnswerInvalid"),
        ("a list is of its kind", "R5", "objects:_lists", "AnswerInvalid"),
        ("items of another kind", "R5", "objects:_items", "AnswerInvalid"),
        ("a list that ends too early", "R19 R5", "objects:ClusterKube._pages", "AnswerInvalid"),
        ("a list ends only at its last page", "R19", "objects:ClusterKube._pages", "AnswerInvalid"),
        ("a kind stays in its cluster's paths", "R1 R31", "paths:is_place", "AnswerInvalid"),
        ("a delete carries UID and version", "R11", "objects:ClusterKube.delete", ""),
        ("calls of one cluster are bounded", "R18", "gate:Gate.enter", ""),
        ("every call has a deadline", "R19", "transport:Transport._within", ""),
        ("an answer has a size", "R18 R28", "exchange:read_body", "AnswerInvalid"),
        ("a mute watch is ended", "R19", "reflector:Reflector._chunk", ""),
        ("a watch that says nothing of what happened", "R19 R21", "reflector:Reflector._nothing_happened", ""),
        ("history that went back is listed anew", "R19 R24", "reflector:Reflector._bookmark", ""),
        ("a write is never repeated unseen", "R20", "wire:_send_once", ""),
        ("a refused credential does not storm", "R20", "session:Session.renewed", ""),
        ("no write without the fence", "R23", "transport:Transport.write", "OwnedByOther"),
        ("a write that waited is asked about again", "R17", "transport:Transport.write", "Withdrawn"),
        ("the hub runs no program of a kubeconfig", "R30", "kubeconfig:_Reader._refuse_for_hub", "CredentialRefused"),
        ("the hub verifies every server", "R30", "kubeconfig:_Reader._refuse_for_hub", "CredentialRefused"),
        ("no plain http to a cluster", "R30", "kubeconfig:_Reader._server", "CredentialRefused"),
        ("a proxy that is not understood", "R30", "kubeconfig:_Reader._proxy", "CredentialRefused"),
        ("no anonymous requests", "R30", "kubeconfig:_Reader.access", "CredentialRefused"),
        ("a metadata service is not dialled", "R31", "addresses:AddressRule.refusal", "AddressRefused"),
        ("loopback is not dialled", "R31", "addresses:AddressRule.refusal", "AddressRefused"),
        ("link-local is not dialled", "R31", "addresses:AddressRule.refusal", "AddressRefused"),
        ("no address of a host", "R31", "addresses:AddressRule.refusal", "AddressRefused"),
        ("the hub does not dial itself", "R31", "addresses:AddressRule.refusal", "AddressRefused"),
        ("an address inside an address", "R31", "addresses:_plain", "AddressRefused"),
        ("what a name resolves to", "R31", "addresses:CheckedResolver.resolve", "AddressRefused"),
        ("an address that is written out", "R31", "addresses:AddressRule.check_literal", "AddressRefused"),
        ("an address that is not written in full", "R31", "addresses:_ends_in_a_number", "AddressRefused"),
        ("redirects of a cluster are not followed", "R31", "exchange:exchange", "AnswerInvalid"),
        ("server texts about a Secret are withheld", "R32", "answers:_why", ""),
    ),
    *_part(
        "reconcile",
        ("another cluster than recorded", "R1", "worker:Worker._meet", "IdentityMismatch"),
        ("a create takes nothing over", "R4", "apply:Applier._refuse_foreign", "ObjectForeign OwnedByOther Released"),
        ("deletions of the last hour count", "R9", "prune:Pruner.recent", "prune-budget"),
        ("a replaced name stays until Healthy", "R9", "prune:_is_due", ""),
        ("a rename that is none on the cluster", "R9", "renames:_stands", "prune-budget"),
        ("an approval is for no move", "R9 R16", "prune:Pruner.prune", ""),
        ("what may move keeps its marks", "R13 R16", "session:Session._pass", ""),
        ("data of others is not renamed", "R9", "prune:Pruner.prune", "prune-budget"),
        ("an ordinary object is no hook's", "R9", "hook_objects:HookObjects.refuse_recorded", "PruneStuck"),
        ("what was judged is what goes", "R9", "prune:Pruner.delete", ""),
        ("a kind that came since counts", "R5 R10", "losses:Losses._served", ""),
        ("what comes amid a pass is not approved", "R9 R10", "prune:Pruner.delete", ""),
        ("what Git still wants goes along", "R9 R10", "prune:Pruner.with_losses", ""),
        ("what is wanted again is on no list", "R9 R10", "prune:Pruner.with_inside", ""),
        ("what is replaced goes as it was judged", "R9 R15", "replace:Replacer._make_room", ""),
        ("what is replaced at once counts together", "R9 R15", "replace:Replacer.replace", "prune-budget"),
        ("what is going makes no room for more", "R9", "prune:Pruner.owned", "prune-budget"),
        ("the record is durable before the write", "R12", "stages:Stages.record", ""),
        ("a row stays until its object is gone", "R12 R15", "prune:Pruner.delete", ""),
        ("a rebuilt record is confirmed first", "R12 R24", "standing:judge_leave", ""),
        ("a state is not older than its cluster", "R24 R12", "recover:_is_newer", ""),
        ("a damaged parent tells of a loss as well", "R12 R24", "recover:_ours", ""),
        ("all is validated before the first write", "R14", "stages:Stages.are_valid", ""),
        ("a suspended unit is not written to", "R17", "standing:judge_leave", ""),
        ("a silent group is not gone", "R5 R13", "detach:Detacher.detach", "ServerFailed"),
        ("what an accepted cluster holds is asked for", "R12 R24", "worker:Worker._meet", ""),
        ("a suspend reaches what waits to be applied", "R17", "stages:Stages._put", ""),
        ("a suspend reaches what waits to be deleted", "R17", "prune:Pruner._delete_stage", ""),
        ("a suspend reaches a heal that waits", "R17", "heal:Healer._heal", ""),
        ("a suspend reaches the parent object", "R17", "standing:judge_leave", ""),
        ("who came second writes nothing", "R23 R4", "standing:judge_leave", "OwnedByOther"),
        ("a parent hits the state that was judged", "R23 R4", "parent:_over", ""),
        ("a rival is not fought without end", "R17", "heal:Healer._count", "RivalManager"),
        ("what a team may not have is not new", "R29", "standing:judge_leave", "NotAllowedForTeam"),
        ("where a kind lives is asked at the write", "R29", "apply:Applier.refuse_forbidden", "NotAllowedForTeam"),
        ("what a team may not have it claims in vain", "R29 R16", "claims:_refs", ""),
        ("a write without an answer is read first", "R20", "unit_pass:UnitPass._look_again", ""),
        ("what goes is written down first", "R43", "site:Site.delete", ""),
        ("what is forced is written down first", "R43", "apply:Applier._force", ""),
        ("what is taken over is written down first", "R43", "adopt:Adopter.take", ""),
    ),
    *_part(
        "controllers",
        ("the cluster of another entry", "R2", "identities:Identities.claim", "IdentityMismatch ClusterRenamed"),
        ("a fleet file that does not parse", "R5", "board:Board.take_fleet", ""),
        ("another name of the fleet", "R4 R5", "roster:Roster.whole", "FleetRenamed"),
        ("a lost mirror keeps its promise", "R7", "commits:Commits._check_promise", "HistoryRewritten"),
        ("what waits for its step takes", "R9 R16", "releases:Releases.release", ""),
        ("a person's word is for what was shown", "R24 R12", "orders:Orders._recovered", ""),
        ("a move is no deletion", "R9 R16", "holdings:Holdings.taken", ""),
        ("what may be back is not let go", "R5 R13", "departures:Departures.look_at", ""),
        ("a suspend reaches a gate's Job", "R17", "gate_jobs:GateJobs._may", ""),
        ("a bundle that cannot be had is not empty", "R5 R9 R16", "deletions:Deletions._judge", "prune-budget"),
        ("what goes back is written down first", "R43", "rollback_evidence:Evidence.around", ""),
    ),
    *_part(
        "core",
        ("may have been renamed", "R2 R13", "release:plan_leaving_unit", "IdentityUnknown"),
        ("another record than was shown", "R24 R12", "recovery:given_of", ""),
        ("what a team may not have", "R29", "results:judge_rights", "NotAllowedForTeam"),
        ("what leaves is let go, not deleted", "R13", "release:plan_leaving_unit", ""),
        ("a file name is a name", "R3", "ids:is_dns_subdomain", "NameInvalid"),
        ("an object of nobody's", "R4", "plan:_place_seen", "ObjectForeign"),
        ("a mark of another installation", "R4 R23", "record:judge_mark", "OwnedByOther"),
        ("a mark of another cluster", "R2 R4", "record:judge_mark", "OwnedByOther"),
        ("a parent of another installation", "R23 R4", "neighbours:judge_parent", "OwnedByOther"),
        ("another installation was there first", "R23", "neighbours:judge_neighbour", "OwnedByOther"),
        ("a copied mark", "R4", "record:judge_mark", "ObjectForeign"),
        ("a bundle that is not the ordered one", "R5 R6", "plan:prove_complete", ""),
        ("kinds that were not listed", "R5", "plan:prove_complete", ""),
        ("a record that nobody confirmed", "R12 R24", "plan:prove_complete", ""),
        ("what a problem covers has not left", "R5 R13", "fleet:Unknown.covers", ""),
        ("zero objects of a unit", "R8", "guard:judge_empty", "RenderEmpty"),
        ("most objects of a unit", "R8", "guard:_first_reason", "sharp-fall"),
        ("most clusters of an overlay", "R8", "across:judge_fall", "sharp-fall"),
        ("more objects than the budget", "R9", "guard:_first_reason", "prune-budget"),
        ("a larger share than the budget", "R9", "guard:_first_reason", "prune-budget"),
        ("the same deletion on many clusters", "R9", "across:judge_across", "prune-budget"),
        ("no deletion without a permit", "R9", "guard:judge_prune", "prune-budget"),
        ("fewer come back than went", "R9", "renames:renames_of", "prune-budget"),
        ("more than its text is not renamed", "R9 R10", "renames:_may_change_name", "prune-budget"),
        ("an approval is for the very object", "R9", "guard:approval_of", ""),
        ("more goes along than was approved", "R9 R10", "guard:is_approved", ""),
        ("a wipe permits nothing", "R9 R13", "release:plan_leaving_unit", ""),
        ("a wipe is over by what came after it", "R5 R13", "wipe:is_over", ""),
        ("a wipe is for the name that was typed", "R2 R13", "leaving:Leaving.renamed", ""),
        ("what goes along is in no plan", "R9 R10", "planning.approval:_differs", ""),
        ("an owner elsewhere hides nothing", "R9 R10", "losses:_by_themselves", ""),
        ("all of a definition goes along", "R9 R10", "losses:definition_loss", ""),
        ("claims go with a StatefulSet", "R9 R10", "inside:takes_along", ""),
        ("an approval makes no room for more", "R9", "guard:judge_prune", "prune-budget"),
        ("a hook's object is in no rebuilt record", "R9 R12", "record:rebuild_record", ""),
        ("an approval is for the very list", "R9", "release:is_part_of", ""),
        ("an approval is for its commit", "R9", "guard:approved_at", ""),
        ("prune: confirm", "R9 R10", "guard:_first_reason", "prune-confirm"),
        ("a precious kind", "R10", "guard:is_precious", "precious-kind"),
        ("another incarnation is not deleted", "R11", "record:judge_deletion", "OwnedByOther"),
        ("only our whole mark is deleted", "R11", "record:judge_deletion", "OwnedByOther Released"),
        ("an owned object is left to its owner", "R11", "record:judge_deletion", "OwnedByOther"),
        ("a released object is not deleted", "R11", "record:judge_deletion", "Released"),
        ("what is not ours is no candidate", "R11", "plan:_doomed_of", ""),
        ("a record holds old and new", "R12", "record:plan_record", ""),
        ("a rebuilt record that differs", "R12 R24", "record:rebuild_record", ""),
        ("nothing is made anew unasked", "R15", "guard:judge_force", ""),
        ("what may move is no deletion", "R5 R9 R16", "moves:moves_of", ""),
        ("what is not known yet may take", "R5 R16", "moves:unsure_on", ""),
        ("what leaves waits for its taker", "R13 R16", "moves:leaving_waits", ""),
        ("a suspend in Git keeps what leaves", "R13 R17", "release:_quiet", ""),
        ("what a suspended unit has stays with it", "R16 R17", "plan:_place_seen", ""),
        ("a commit is judged once it is known", "R5 R9", "moves:overlays_to_judge", "prune-budget"),
        ("two units want one object", "R16", "plan:_place", "OwnedByOther"),
        ("what another unit takes is no deletion", "R16", "plan:_doomed_of", ""),
        ("a field of another manager", "R17", "conflicts:judge_conflict", "FieldConflict"),
        ("missing rights are asked seldom", "R20", "retry:bounds_for", ""),
        ("Retry-After is obeyed", "R20", "retry:wait_before_repeat", ""),
        ("an old status is Unknown", "R21", "fold:judge_age", ""),
        ("one definition of an object", "R28", "bundles:assemble", "DuplicateObject"),
        ("a size of objects", "R28", "bundles:assemble", "RenderTooLarge"),
        ("encrypted text reaches no cluster", "R32", "bundles:_checked_ref", "EncryptedUnsupported"),
        ("kinds of a team", "R29", "guard:_why_not_there", "NotAllowedForTeam"),
        ("namespaces of a team", "R29", "guard:_why_not_there", "NotAllowedForTeam"),
        ("a place that only the cluster says", "R29", "guard:judge_place", "NotAllowedForTeam"),
        ("of a team that nobody knows", "R29 R5", "release:_quiet", "NotAllowedForTeam"),
        ("replace is a right", "R29", "guard:_why_refused", "NotAllowedForTeam"),
        ("values of Secrets are masked", "R32", "field_diff:_is_secret_path", ""),
        ("a webhook without a secret", "R39", "webhook:judge_webhook", ""),
        ("a webhook that is too large", "R39", "webhook:judge_webhook", "RequestInvalid"),
        ("a webhook that is not signed", "R39", "webhook:judge_webhook", "NotAuthenticated"),
        ("an entry of the audit log that was changed", "R43", "audit:verify_chain", ""),
        ("an end of the audit log that was cut off", "R43", "audit:verify_chain", ""),
    ),
    *_part(
        "inventory",
        ("a name that Kubernetes has not", "R3", "texts:_cluster_name", "FieldInvalid NameInvalid"),
        ("a cluster called as an environment", "R3", "clusters:_refused_names", "NameInvalid"),
        ("a name that is given twice", "R2", "clusters:_duplicate_names", "DuplicateName"),
        ("an identity that is given twice", "R2", "clusters:_duplicate_identities", "DuplicateName"),
        ("a key that is written twice", "R28", "yamlfile:_Reader._mapping", "FileInvalid"),
        ("aliases that grow", "R28", "yamlfile:_Reader._check_size", "FileInvalid"),
        ("nesting has an end", "R28", "yamlfile:_Reader._value", "FileInvalid"),
        ("where a team may run", "R29", "rights:may_run_on", "NotAllowedForTeam"),
        ("what a team may read", "R29", "resolve:_beyond_rights", "NotAllowedForTeam"),
    ),
    *_part(
        "source",
        ("only protocols that are known", "R25", "url:_parse_absolute", "GitUrlRefused"),
        ("no plain http to Git", "R25", "url:_parse_absolute", "GitUrlRefused"),
        ("no password in a URL", "R25 R32", "url:_parse_absolute", "GitUrlRefused"),
        ("no local path", "R25", "url:_path", "GitUrlRefused"),
        ("no option and no helper as a URL", "R25 R26", "url:parse_url", "GitUrlRefused"),
        ("git follows no redirect", "R25", "command:_SAFE_CONFIGURATION", "GitHostRefused"),
        ("git verifies its host", "R25", "command:_SAFE_CONFIGURATION", "GitHostRefused"),
        ("git checks what it gets", "R25 R28", "command:_SAFE_CONFIGURATION", "GitHostRefused"),
        ("git sees nothing of the hub's environment", "R25 R32", "command:GitCommand._start", ""),
        ("ssh knows its host", "R25", "askpass:_ssh_command", "GitHostRefused"),
        ("a branch is a plain name", "R26", "url:check_branch", "GitUrlRefused"),
        ("a commit is a whole id", "R26", "url:check_revision", "GitUrlRefused"),
        ("the branch only goes forward", "R7", "mirror:Mirror._run_fetch", "HistoryRewritten"),
        ("a branch that is gone", "R7", "complaints:error_of_fetch", "RefMissing"),
        ("leftovers of a killed fetch", "R22", "mirror:remove_leftovers", ""),
        ("files of a commit", "R28", "snapshot:check_tree", "CommitTooLarge"),
        ("a path of a commit", "R28", "snapshot:check_tree", "CommitTooLarge"),
        ("a file of a commit", "R28", "snapshot:ObjectReader._answer", "CommitTooLarge"),
        ("who signs", "R28", "signatures:verify_commit", "SignatureInvalid"),
    ),
    *_part(
        "render",
        ("a directory that is not there", "R8", "closure:_Walk._start", "PathMissing"),
        ("a directory without a kustomization", "R8", "closure:_Walk._find", "PathMissing"),
        ("a build without an object", "R8", "service:Renderer.render", "RenderEmpty"),
        ("a cache entry that was changed", "R6", "cache:DiskCache._read", ""),
        ("a result of other files", "R6", "inputs:Closure.renewed", ""),
        ("an absolute path", "R27", "tree:CommitTree.resolve", "PathEscapes"),
        ("a path or link out of the commit", "R27", "tree:CommitTree._walk", "PathEscapes"),
        ("a link to an absolute path", "R27", "tree:CommitTree._target", "PathEscapes"),
        ("links without end", "R27 R28", "tree:CommitTree._target", "PathEscapes"),
        ("a file from the network", "R27", "remote:is_remote_file", "RemoteBaseRefused"),
        ("a base from the network", "R27", "remote:is_repository", "RemoteBaseRefused"),
        ("plugins and functions", "R27", "closure:_Walk._take", "PluginRefused"),
        ("charts only where allowed", "R27", "closure:_Walk._take_chart", "PluginRefused"),
        ("fields that are not known", "R27", "closure:_Walk._refuse_unsafe", "PathEscapes RemoteBaseRefused"),
        ("a build sees its own files", "R27", "confine:_landlock", ""),
        ("a build has no network", "R27", "confine:confine", ""),
        ("a build ends in time", "R28", "limits:_collect", "RenderTimeout"),
        ("output of a build", "R28", "limits:_collect", "RenderTooLarge"),
        ("memory of a build", "R28", "limits:_collect", "RenderTooLarge"),
        ("input of a build", "R28", "service:_read_all", "RenderTooLarge"),
        ("a key of an object that is written twice", "R28", "parse:_value", "DocumentInvalid"),
        ("aliases and nesting of an object", "R28", "parse:_value", "DocumentInvalid"),
        ("a file that grows by aliases", "R28", "aliases:grown_at", "DocumentInvalid"),
        ("plain files of a chart", "R28", "charts:read_archive", "ChartInvalid"),
        ("builds of a killed hub", "R22", "scratch:sweep", ""),
    ),
    *_part(
        "store",
        ("one process to a state", "R22 R23", "lock:DirectoryLock.__init__", "StateInUse"),
        ("a newer state", "R24", "schema:prepare_database", "StateNewer"),
        ("a damaged state", "R24", "schema:_schema_of", "StateDamaged"),
        ("a lost key is not replaced", "R24 R32", "crypto:load_or_make_key", "KeyMissing"),
        ("another key", "R24 R32", "sealed:check_key", "KeyMissing"),
        ("an audit log that was cut", "R24 R43", "audit:_open", "StateDamaged"),
        ("an approval of a list that changed", "R9", "hold_rules:decided_hold", "PreconditionFailed"),
        ("an approval that comes too late", "R9", "hold_rules:decided_hold", "PreconditionFailed"),
        ("an approval that expired", "R9", "hold_rules:renewed_hold", ""),
        ("a key that others may read", "R32", "crypto:_read", "KeyMissing"),
        ("a token of a backup is over", "R38 R24", "restore:_let_observe_only", ""),
        ("an entry in another's place", "R32", "crypto:Cipher.open", "StateDamaged"),
        ("values at rest are encrypted", "R32", "crypto:Cipher.seal", ""),
    ),
    *_part(
        "ownership",
        ("a worker that was ended", "R23", "local:LocalFence.check", "OwnedByOther"),
        ("no write that could not be recorded", "R24", "local:LocalFence.check", "StateNotWritable"),
    ),
    *_part(
        "api",
        ("the list that was seen", "R9", "holds:_approve", "PreconditionFailed"),
        ("a recovery of the list that was seen", "R24", "recovery:_confirm", "PreconditionFailed"),
        ("an identity that is another's", "R2", "actions:_accept_identity", "RequestInvalid"),
        ("a wipe of what may be wanted again", "R5", "wipe:_check", "PreconditionFailed"),
        ("a decision on a hold is written down first", "R43", "holds:_decide", ""),
        ("a wipe is written down first", "R43", "wipe:_wipe", ""),
        ("an override is written down first", "R43", "actions:_sync", ""),
        ("an identity is written down first", "R43", "actions:_accept_identity", ""),
        ("a token is written down first", "R43 R38", "admin:_create_token", ""),
    ),
)  # fmt: skip


# Of the API as a whole, beside the guards above.
_OF_THE_API = {"NotAuthenticated": "R37", "NotAllowed": "R37", "RequestInvalid": "R41", "PreconditionFailed": "R42"}


@lru_cache(maxsize=1)
def _by_word() -> dict[str, str]:
    found: dict[str, str] = {}
    for guard in GUARDS:
        for word in guard.says:
            found.setdefault(word, guard.rules[0])
    return {**found, **_OF_THE_API}


def rule_of(reason: str) -> str:
    """The rule that this class of error, or this reason of a hold, keeps; "" for what is a failure and no refusal."""
    return _by_word().get(reason, "")
