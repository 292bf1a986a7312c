"""The example's own tests: ``python manage.py test``. They need no server and no worker."""

from __future__ import annotations

from unittest import mock

from django.test import TestCase

from django_jobqueue.exceptions import StorageError

from . import sources
from .jobs import index_file
from .models import Definition, Module


class IndexFileTests(TestCase):
    """The job, called like any function."""

    def test_a_file_is_stored_with_what_it_defines(self) -> None:
        outcome = index_file("json/decoder.py")

        assert outcome["problem"] == ""
        decode = Definition.objects.get(qualified_name="json.decoder.JSONDecoder.decode")
        assert (decode.kind, decode.module.path) == ("method", "json/decoder.py")
        assert outcome["definitions"] == Definition.objects.count()

    def test_a_second_run_changes_nothing(self) -> None:
        first = index_file("json/decoder.py")

        second = index_file("json/decoder.py")

        assert first == second
        assert Module.objects.count() == 1
        assert Definition.objects.count() == second["definitions"]

    def test_a_file_that_does_not_parse_is_an_outcome(self) -> None:
        with mock.patch.object(sources, "read_source", return_value=b"def broken(:\n"):
            outcome = index_file("broken.py")

        module = Module.objects.get(path="broken.py")
        assert "invalid syntax" in module.problem
        assert outcome == {"module": "broken", "definitions": 0, "problem": module.problem}

    def test_a_path_out_of_the_library_is_refused(self) -> None:
        for path in ("/etc/hosts", "../secrets.py", "json/../../secrets.py"):
            with self.subTest(path), self.assertRaisesMessage(ValueError, "leads out of the library"):
                index_file(path)


class SearchPageTests(TestCase):
    """The search page."""

    def setUp(self) -> None:
        stats = mock.Mock(queued=1234, scheduled=0, processing=5)
        self.queue = mock.Mock(stats=mock.Mock(return_value=stats))
        patch = mock.patch("codeindex.views.queues", {"default": self.queue})
        patch.start()
        self.addCleanup(patch.stop)

    @classmethod
    def setUpTestData(cls) -> None:
        module = Module.objects.create(path="shop/cart.py", name="shop.cart")
        entries = [
            ("function", "checkout", "shop.cart.checkout", "Pay for <b>all</b> & leave."),
            ("class", "Cart", "shop.cart.Cart", "Holds what will be paid at checkout."),
            *(("method", f"m{i}", f"shop.cart.Cart.m{i}", "Bulk entry.") for i in range(45)),
        ]
        Definition.objects.bulk_create(
            Definition(module=module, kind=kind, name=name, qualified_name=full, line=1, docstring=doc)
            for kind, name, full, doc in entries
        )

    def test_the_best_match_comes_first(self) -> None:
        response = self.client.get("/", {"q": "checkout"})

        names = [hit.definition.name for hit in response.context["hits"]]
        assert names == ["checkout", "Cart"]

    def test_the_match_is_marked_and_the_docstring_escaped(self) -> None:
        response = self.client.get("/", {"q": "<B>all"})

        self.assertContains(response, "Pay for <mark>&lt;b&gt;all</mark>&lt;/b&gt; &amp; leave.", html=False)
        self.assertNotContains(response, "<b>all")

    def test_the_query_is_escaped(self) -> None:
        response = self.client.get("/", {"q": '"><script>alert(1)</script>'})

        self.assertNotContains(response, "<script>")

    def test_a_kind_narrows_the_results_and_keeps_the_query(self) -> None:
        response = self.client.get("/", {"q": "checkout", "kind": "class"})

        assert [hit.definition.name for hit in response.context["hits"]] == ["Cart"]
        self.assertContains(response, 'href="?q=checkout&amp;kind=function"')

    def test_pages_have_twenty_results(self) -> None:
        response = self.client.get("/", {"q": "bulk", "page": "3"})

        assert len(response.context["hits"]) == 5
        self.assertContains(response, "41–45 are shown")

    def test_odd_parameters_are_harmless(self) -> None:
        for parameters in ({"page": "x"}, {"page": "-3"}, {"kind": "nonsense"}, {"q": "\x00"}, {"q": "%_\\"}):
            with self.subTest(parameters):
                assert self.client.get("/", parameters).status_code == 200

    def test_the_state_of_the_queue_is_shown(self) -> None:
        response = self.client.get("/")

        self.assertContains(response, "<dt>waiting</dt><dd>1,234</dd>", html=False)
        self.assertContains(response, "<dt>running</dt><dd>5</dd>", html=False)

    def test_the_search_works_without_the_queue_server(self) -> None:
        self.queue.stats.side_effect = StorageError("connection refused")

        response = self.client.get("/", {"q": "checkout"})

        self.assertContains(response, "cannot be reached right now")
        assert len(response.context["hits"]) == 2

    def test_unparsed_files_are_listed_with_the_reason(self) -> None:
        Module.objects.create(path="bad.py", name="bad", problem="null bytes & more")

        response = self.client.get("/unparsed/")

        self.assertContains(response, "null bytes &amp; more")
