"""The form of a category file as a JSON schema, for editors and for whoever checks a bundle with other tools: `category.schema.json`.

It is made of the same keys and words that the loader reads by, and a test holds the published file to them. The loader knows more: what one key says
about another file, and about other keys of the same one.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from vault.catalogue import category_file as form
from vault.catalogue.fields import FieldType, Sensitivity, Storage
from vault.catalogue.words import (
    ContractEnd,
    CourtClass,
    Erasure,
    ErasureException,
    HeldAs,
    Minors,
    Operation,
    Reason,
    Recipient,
    Responsibility,
    RetentionEvent,
    View,
)
from vault.identifiers import IdentifierKind
from vault.masking import MaskStyle

Json = dict[str, object]

_TEXT: Json = {"type": "string", "pattern": r"\S"}
_NAME: Json = {"type": "string", "maxLength": 64, "pattern": "^[a-z][a-z0-9]*([-_][a-z0-9]+)*$"}
_REASON: Json = {"type": "string", "pattern": f"^{form.REASON.pattern}$"}
_FLAG: Json = {"type": "boolean"}
_DESCRIPTION: Json = {"$ref": "#/$defs/description"}


def category_schema() -> Json:
    """The schema, draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A category of personal data",
        **_mapping((*form.ABOUT, *form.CONTENT, *form.OUTCOMES), form.OPTIONAL, _CATEGORY),
        "$defs": {
            "description": _mapping(("he", "en"), (), {"he": _TEXT, "en": _TEXT}),
            "retention": _mapping(*form.RETENTION, _RETENTION),
        },
    }


def _mapping(required: Iterable[str], optional: Iterable[str], members: Mapping[str, Json]) -> Json:
    """An object with exactly these members. A member without a form would be a key that the schema forgot: that fails here."""
    needed = list(required)
    return {
        "type": "object",
        "properties": {key: members[key] for key in (*needed, *optional)},
        "required": needed,
        "additionalProperties": False,
    }


def _one_of(words: type[StrEnum]) -> Json:
    return {"enum": [str(word) for word in words]}


def _list(item: Json) -> Json:
    return {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}


def _number(least: int = 0) -> Json:
    return {"type": "integer", "minimum": least, "maximum": 999_999_999}


def _named(value: Json) -> Json:
    return {"type": "object", "propertyNames": _NAME, "additionalProperties": value}


def _exactly_if(key: str, values: Iterable[str], then: str) -> Json:
    """A member that is there exactly if another one has one of these values."""
    return {
        "if": {"properties": {key: {"enum": list(values)}}, "required": [key]},
        "then": {"required": [then]},
        "else": {"not": {"required": [then]}},
    }


_RETENTION: Mapping[str, Json] = {
    "days": _number(),
    "event": _one_of(RetentionEvent),
    "text": _DESCRIPTION,
    "reason": _DESCRIPTION,
    "restricted_days": _number(),
    "ceiling_days": _number(1),
    "floor_days": _number(1),
    "latest_days": _number(1),
    "afterwards": {"enum": [str(Erasure.RESTRICTED), str(Erasure.TOKENISED)]},
}
_RETAINED: Json = {"$ref": "#/$defs/retention"}
_PARTY: Mapping[str, Json] = {
    "name": _NAME,
    "description": _DESCRIPTION,
    "identified_by": {"type": "array", "items": _NAME, "uniqueItems": True},
    "named_by_caller": _FLAG,
    "optional": _FLAG,
}
_FIELD: Mapping[str, Json] = {
    "type": _one_of(FieldType),
    "storage": _one_of(Storage),
    "sensitivity": _one_of(Sensitivity),
    "description": _DESCRIPTION,
    "party": _NAME,
    "index": _one_of(IdentifierKind),
    "required": _FLAG,
    "missing_reason": _REASON,
    "values": _list(_TEXT),
    "refused": {"type": "object", "additionalProperties": _REASON},
    "pattern": {"type": "string", "format": "regex"},
    "max_bytes": _number(1),
    "max_keys": _number(1),
    "mask": _one_of(MaskStyle),
    "free": _FLAG,
    "scrub": _FLAG,
    "goes_first": _FLAG,
    "keep_days": _number(1),
    "court_class": _one_of(CourtClass),
}
_LEVEL: Mapping[str, Json] = {"retained": _FLAG, "retention": _RETAINED}
_ROWS: Mapping[str, Json] = {
    "name": _NAME,
    "field": _NAME,
    "values": _list(_TEXT),
    "description": _DESCRIPTION,
    "affiliate": _FLAG,
    "retention": _RETAINED,
    "on_erasure": _one_of(Erasure),
    "on_contract_end": _one_of(ContractEnd),
    "ends_on_objection": _FLAG,
    "account_terms": _NAME,
}
_GRANT: Mapping[str, Json] = {
    "operations": _list(_one_of(Operation)),
    "roles": _list(_NAME),
    "purposes": _list(_NAME),
    "view": _one_of(View),
    "levels": _list({"enum": list(form.CONTENT_LEVELS)}),
    "recipients": _list(_one_of(Recipient)),
}


def _field() -> Json:
    """A field, with those of the loader's rules about one key and another that are about this field alone."""
    return {
        **_mapping(*form.FIELD, _FIELD),
        "allOf": [
            _exactly_if("type", [FieldType.ENUM], "values"),
            _exactly_if("type", [FieldType.MAP], "max_keys"),
            _exactly_if("storage", [Storage.INDEXED], "index"),
            _exactly_if("storage", [Storage.INDEXED, Storage.ENCRYPTED], "party"),
            _exactly_if("storage", [Storage.INDEXED, Storage.ENCRYPTED], "mask"),
        ],
    }


_REQUIREMENTS: Json = _list({"type": "string", "minLength": 1})
_CATEGORY: Mapping[str, Json] = {
    "name": _NAME,
    "code": {"type": "string", "minLength": 1},
    **dict.fromkeys(
        ("title", "description", "notice", "source", "data_subject", "towards", "erasure_note", "contract_end_note"), _DESCRIPTION
    ),
    "products": _list(_NAME),
    "operating_entity": _NAME,
    "role": _one_of(Responsibility),
    "requirements": _REQUIREMENTS,
    "parties": {"type": "array", "items": _mapping(*form.PARTY, _PARTY), "minItems": 1},
    "fields": _named(_field()),
    "grants": {"type": "array", "items": _mapping(*form.GRANT, _GRANT)},
    "court_class": _one_of(CourtClass),
    "on_erasure": _one_of(Erasure),
    "erasure_exception": _one_of(ErasureException),
    "on_contract_end": _one_of(ContractEnd),
    "kept_for": _list(_one_of(Reason)),
    "occur_field": _NAME,
    "valid_from_field": _NAME,
    "valid_to_field": _NAME,
    "ended_field": _NAME,
    "levels": {
        "type": "object",
        "properties": dict.fromkeys(form.CONTENT_LEVELS, _mapping(*form.LEVEL, _LEVEL)),
        "additionalProperties": False,
        "minProperties": 1,
    },
    "retention": _RETAINED,
    "rows": {"type": "array", "items": _mapping(*form.ROWS, _ROWS), "minItems": 1},
    "held_as": _one_of(HeldAs),
    "minors": _one_of(Minors),
    **dict.fromkeys(("affiliate", "requires_as_of", "is_list", "service_only", "court_if_named", "asks_who_readds"), _FLAG),
}
