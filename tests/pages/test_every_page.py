"""Every page, empty and full, at narrow means: it opens, says something, never crashes."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from msip_core.workspace import Workspace
from tests.fresh import run_fresh
from tests.pages.conftest import PAGES, Open, no_crash, words
from tests.pages.fake_compute import FakeCompute

EMPTY = {
    "start": "Use my images",
    "data": "Where are the images?",
    "correct": "No images yet.",
    "models": "No dataset is ready to train on.",
    "new": "No dataset is ready.",
    "runs": "No runs yet.",
    "studies": "No dataset is ready.",
    "computers": "ray start --address=",
    "plate": "No model can count yet.",
    "compare": "No pruned model yet",
    "look": "No pruned model yet",
    "share": "No pruned model yet",
}


def _labels(test: AppTest) -> str:
    kinds = ("button_group", "selectbox", "button", "slider", "file_uploader")
    return "\n".join(str(item.label) for kind in kinds for item in test.get(kind))


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_workspace_says_what_to_do(open_page: Open, page: str) -> None:
    test = open_page(page)

    no_crash(test)
    assert EMPTY[page] in words(test) + _labels(test)


@pytest.mark.parametrize("page", PAGES)
def test_a_full_workspace_is_shown(full: str, open_page: Open, page: str) -> None:
    test = open_page(page)

    no_crash(test)
    assert not test.error
    assert len(test.title) == 1


@pytest.mark.parametrize("page", ["runs", "compare", "look", "share"])
def test_a_link_to_a_run_that_is_gone_says_so(full: str, open_page: Open, page: str) -> None:
    test = open_page(page, run="prune-000000000000-0000")

    no_crash(test)
    assert len(test.error) == 1
    assert "prune" in test.error[0].value.replace("\\", "")
    # The next look is not stuck on the wrong link.
    assert not test.run().error


def test_a_damaged_dataset_is_one_sentence_not_a_traceback(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    (workspace.dataset_dir("example") / "dataset.json").write_text("{}", encoding="utf-8")

    test = open_page("data", dataset="example")

    assert not test.exception
    assert "import the dataset again" in test.error[0].value


def test_an_unexpected_error_shows_a_code_and_no_traceback(
    full: str, open_page: Open, compute: FakeCompute, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> dict[str, object]:
        raise ZeroDivisionError("inner detail")

    compute.answers = broken

    test = open_page("compare")

    assert not test.exception
    assert "Your data are safe" in test.error[0].value
    assert "inner detail" not in words(test)
    assert "E-" in caplog.text
    assert "inner detail" in caplog.text


def test_opening_the_app_loads_no_torch(full: str, workspace: Workspace) -> None:
    code = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        "test = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "for page in ('data', 'models', 'new_run', 'runs', 'export'):\n"
        "    test.switch_page(f'pages/{page}/page.py').run()\n"
        "    assert not test.exception, test.exception\n"
        "heavy = {'torch', 'ultralytics', 'shap', 'torch_pruning'} & set(sys.modules)\n"
        "print(sorted(heavy))\n"
    )

    assert run_fresh(code, timeout=500, MSIP_WORKSPACE=str(workspace.root)).strip().endswith("[]")
