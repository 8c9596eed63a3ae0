"""`pii-vault policy …`: what the policy bundle says, what is different between two of them, and what one of them answers. Offline.

What reads a bundle is imported inside the commands: whoever installed the command alone is told what is missing.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vault.cli.session import SESSION, reported, say, show

if TYPE_CHECKING:
    from vault.policy.bundle import Bundle
    from vault.policy.decide import Question

app = typer.Typer(no_args_is_help=True, help="The policy bundle: show, compare, explain a decision. No server is needed.")
Folder = Annotated[
    Path | None,
    typer.Argument(
        help="Bundle: a folder with catalogue/ and policy/ in it; the packaged one if none is named.", exists=True, file_okay=False
    ),
]
BundleFolder = Annotated[
    Path, typer.Argument(help="A folder with catalogue/ and policy/ in it.", exists=True, file_okay=False, show_default=False)
]
# What a purpose's basis asks for, as `explain` assumes it to be there unless told otherwise.
_ENOUGH = {"ticket-or-incident": "ticket", "contract": "none", "law": "none", "preference": "none", "": "none"}


@app.command("show")
def show_bundle(bundle: Folder = None) -> None:
    """Show version, digest and counts of a bundle, once everything in it is checked."""
    with reported():
        from vault.policy import bundle as bundles  # noqa: PLC0415

        loaded = bundles.load(bundle)
        catalogue = loaded.catalogue
        answer: dict[str, Any] = {
            "version": catalogue.version,
            "digest": catalogue.digest,
            "policy_version": catalogue.policy_version,
            "guards_sha256": catalogue.guards_sha256,
            "access_sha256": catalogue.access_sha256,
            "counts": {name.replace(" ", "_"): count for name, count in loaded.counts.items()},
        }
        if SESSION.json:
            answer["categories"] = [
                {"code": category.code, "name": category.name, "title": category.title.en, "held_as": category.held_as.value}
                for category in catalogue.categories.values()
            ]
        show(answer)
        for category in catalogue.categories.values():
            say(f"{category.code}  {category.name:<26}{category.title.en}")


@app.command()
def diff(old: BundleFolder, new: BundleFolder) -> None:
    """Say in words what is different in NEW. Exit code 0: nothing; 1: something."""
    with reported():
        from vault.policy import bundle as bundles  # noqa: PLC0415
        from vault.policy.changes import changes  # noqa: PLC0415

        before, after = bundles.load(old), bundles.load(new)
        found = changes(before, after)
        if SESSION.json:
            show(
                {
                    "old": before.catalogue.policy_version,
                    "new": after.catalogue.policy_version,
                    "changes": [{"part": change.part, "name": change.name, "what": change.what} for change in found],
                }
            )
        for change in found:
            say(str(change))
        say(f"{len(found)} changes from {before.catalogue.policy_version} to {after.catalogue.policy_version}" if found else "no change")
    if found:
        raise typer.Exit(1)


@app.command()
def explain(
    role: Annotated[list[str], typer.Option("--role", help="Role of the caller; repeatable.", show_default=False)],
    operation: Annotated[
        str, typer.Option("--operation", help="create, update, delete, reveal, find, resolve, list, export, erase, check.")
    ],
    category: Annotated[str, typer.Option("--category", help="Category of the catalogue.", show_default=False)],
    purpose: Annotated[str, typer.Option("--purpose", "-p", help="Purpose of the catalogue.", show_default=False)],
    bundle: Annotated[
        list[Path] | None,
        typer.Option(
            "--bundle", help="Folder of a bundle, instead of the packaged one; give two to compare.", exists=True, file_okay=False
        ),
    ] = None,
    level: Annotated[str, typer.Option("--level", help="Content level: system-log, report or system-file.")] = "",
    view: Annotated[str, typer.Option("--view", help="masked or full.")] = "masked",
    recipient: Annotated[
        str, typer.Option("--recipient", help="internal, tenant, affiliate, data-subject, authority, third-party.")
    ] = "internal",
    kind: Annotated[str, typer.Option("--kind", help="service or person.")] = "person",
    product: Annotated[
        list[str] | None, typer.Option("--product", help="Product the caller works for; repeatable; all unless given.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="What is not in order: nda, justification, reference or scope; repeatable.")
    ] = None,
    restricted: Annotated[bool, typer.Option("--restricted", help="The record is restricted.")] = False,
    affiliate_part: Annotated[bool, typer.Option("--affiliate-part", help="The record is of the part that goes to the affiliate.")] = False,
) -> None:
    """Answer one question, with the rule behind the answer. What is not said is in order. Exit code 0: allowed; 1: refused; 3: two bundles differ."""
    with reported():
        from vault.policy import bundle as bundles  # noqa: PLC0415

        asked: dict[str, Any] = {
            "role": role, "operation": operation, "category": category, "purpose": purpose, "level": level, "view": view,
            "recipient": recipient, "kind": kind, "product": product or [], "without": without or [], "restricted": restricted,
            "affiliate_part": affiliate_part,
        }  # fmt: skip
        _check_words(asked)
        if bundle and len(bundle) > 2:  # noqa: PLR2004 - one, or two to compare
            raise typer.BadParameter("give one bundle, or two to compare", param_hint="--bundle")
        loaded = [bundles.load(path) for path in bundle] if bundle else [bundles.load()]
        answers = [_answer(one, asked) for one in loaded]
        differ = len({(answer["decision"], answer["rule"]) for answer in answers}) > 1
        show(answers[0] if len(answers) == 1 else {"answers": answers, "differ": differ})
    if differ:
        raise typer.Exit(3)
    if answers[-1]["decision"] == "REFUSED":
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON schema of a category file."""
    with reported():
        from vault.catalogue.schema import category_schema  # noqa: PLC0415

        print(json.dumps(category_schema(), ensure_ascii=False, indent=1))  # noqa: T201 - the command's answer


@app.command()
def write(folder: Annotated[Path, typer.Argument(help="Folder to write to; it must not exist.", show_default=False)]) -> None:
    """Write the packaged bundle to a folder, to be changed and compared."""
    with reported():
        from vault.policy import bundle as bundles  # noqa: PLC0415

        if folder.exists():
            raise typer.BadParameter("the folder is there already", param_hint="FOLDER")
        show({"written": str(folder), "files": len(bundles.write(folder))})


_WORDS = {
    "without": ("nda", "justification", "reference", "scope"),
    "kind": ("service", "person"),
}


def _check_words(asked: dict[str, Any]) -> None:
    """Refuse a word that no question knows, instead of answering that it is not allowed."""
    from vault.catalogue.words import Operation, Recipient, View  # noqa: PLC0415

    known = {"operation": tuple(Operation), "view": tuple(View), "recipient": tuple(Recipient), **_WORDS}
    for option, words in known.items():
        given = asked[option] if isinstance(asked[option], list) else [asked[option]]
        if unknown := set(given) - set(words):
            raise typer.BadParameter(f"'{min(unknown)}' is not one of {', '.join(words)}", param_hint=f"--{option}")


def _answer(bundle: "Bundle", asked: dict[str, Any]) -> dict[str, Any]:
    """What one bundle answers, and the rule in words."""
    from vault.policy.decide import Refused  # noqa: PLC0415

    question = _question(bundle, asked)
    decision = bundle.policy.decide(question)
    answer: dict[str, Any] = {"policy_version": decision.policy_version, "decision": "ALLOWED", "rule": decision.rule}
    if isinstance(decision, Refused):
        return {
            **answer,
            "decision": "REFUSED",
            "reason": decision.reason,
            "message": decision.message,
            "said_by": _source(bundle, decision.rule),
        }
    return {**answer, "consent_basis": decision.consent_basis, "view": decision.view.value, "said_by": _source(bundle, decision.rule)}


def _question(bundle: "Bundle", asked: dict[str, Any]) -> "Question":
    """The question, in which everything is in order that was not said to be missing.

    Raises:
        InvalidArgumentError: UNKNOWN_CATEGORY, CATEGORY_NOT_COLLECTED, UNKNOWN_PURPOSE, UNKNOWN_ROLE, LEVEL_INVALID.
    """
    from vault.catalogue.words import Operation, View  # noqa: PLC0415
    from vault.policy.decide import Question, Reference  # noqa: PLC0415

    catalogue, without = bundle.catalogue, asked["without"]
    category, purpose = catalogue.category(asked["category"]), catalogue.purpose(asked["purpose"])
    category.retention_at(asked["level"])
    basis = purpose.basis_at(asked["level"]).value
    held = [catalogue.role(name) for name in asked["role"]]
    if category.is_list and any(one.on_request for one in held):
        basis = "customer-request"
    reference = Reference.NONE if "reference" in without else Reference(_ENOUGH.get(basis, basis))
    return Question(
        operation=Operation(asked["operation"]),
        category=category.name,
        roles=frozenset(one.name for one in held),
        actor_kind=asked["kind"],
        purpose=purpose.name,
        level=asked["level"],
        products=frozenset(asked["product"]) or None,
        view=View(asked["view"]),
        recipient=asked["recipient"],
        reference=reference,
        reference_live=reference is not Reference.NONE,
        reference_covers="scope" not in without,
        nda_valid="nda" not in without,
        restricted=asked["restricted"],
        affiliate_part=asked["affiliate_part"],
        justified="justification" not in without,
    )


def _source(bundle: "Bundle", rule: str) -> str:
    """Where a rule stands, and what it says."""
    kind, _, name = rule.partition(":")
    if kind == "guard":
        return f"policy/guards.cedar, {name}"
    if kind != "grant":
        return "no grant of the category, so it is refused by default"
    category, _, number = name.rpartition(":")
    grant = next(grant for grant in bundle.catalogue.categories[category].grants if grant.number == int(number))
    levels = f" at {', '.join(sorted(grant.levels))}" if grant.levels else ""
    words = (
        f"{', '.join(sorted(grant.roles))} may {', '.join(sorted(grant.operations))}{levels} for {', '.join(sorted(grant.purposes))}",
        f"{grant.view} view",
        f"to {', '.join(sorted(grant.recipients))}",
    )
    return f"catalogue/categories/{category}.yaml, grant {number}: {', '.join(words)}"
