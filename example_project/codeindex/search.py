"""Finds definitions by the words in their names and docstrings, the best matches first."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Case, Count, IntegerField, Q, QuerySet, Value, When

from .models import Definition, Kind

#: Longest query that is looked at, in characters.
MAX_QUERY_LENGTH = 100

#: Each word is one more condition on every row; more than this many are ignored.
MAX_TERMS = 8


@dataclass(frozen=True, slots=True)
class Search:
    """A query and a kind; both may be empty, and an empty one leaves nothing out."""

    text: str
    kind: Kind | None

    @classmethod
    def from_parameters(cls, text: str, kind: str) -> Search:
        """Read what came with the address; what makes no sense counts as not given."""
        # SQLite takes a null byte for the end of a pattern, PostgreSQL refuses it.
        text = " ".join(text.replace("\x00", " ").split())[:MAX_QUERY_LENGTH]
        return cls(text.strip(), Kind(kind) if kind in Kind.values else None)

    @property
    def terms(self) -> list[str]:
        """The words that must all be found."""
        return self.text.split()[:MAX_TERMS]

    def results(self) -> QuerySet[Definition]:
        """The matching definitions of the chosen kind, best first."""
        matches = self._matches()
        if self.kind:
            matches = matches.filter(kind=self.kind)
        return matches.select_related("module").order_by(*self._ranking(), "qualified_name", "id")

    def counts(self) -> dict[Kind, int]:
        """How many definitions match, for every kind."""
        rows = self._matches().order_by().values_list("kind").annotate(Count("id"))
        found = dict(rows)
        return {kind: found.get(kind.value, 0) for kind in Kind}

    def _matches(self) -> QuerySet[Definition]:
        condition = Q()
        for term in self.terms:
            condition &= Q(qualified_name__icontains=term) | Q(docstring__icontains=term)
        return Definition.objects.filter(condition)

    def _ranking(self) -> list[Case]:
        """The exact name, then names that begin so, contain it, lie below it; then docstrings.

        Among equals, the library comes before its tests.
        """
        if not self.text:
            return []
        by_name = (
            Q(name__iexact=self.text) | Q(qualified_name__iexact=self.text),
            Q(name__istartswith=self.text),
            Q(name__icontains=self.text),
            Q(qualified_name__icontains=self.text),
        )
        return [_rank(*by_name), _rank(~Q(qualified_name__startswith="test."))]


def _rank(*rules: Q) -> Case:
    """The number of the first rule that holds."""
    ranks = (When(rule, then=Value(rank)) for rank, rule in enumerate(rules))
    return Case(*ranks, default=Value(len(rules)), output_field=IntegerField())
