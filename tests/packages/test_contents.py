"""What is packed is a list: nothing that lies about in the tree gets into a wheel or an sdist."""

import pytest

from packages.unpacked import files_of_sdist, files_of_wheel

# What only a clone needs: it runs CI, makes releases and has the lock for both.
ONLY_IN_A_CLONE = (
    *(".ci/", ".gitattributes", ".github/", ".pre-commit-config.yaml"),
    *("skill/ruff.toml", "uv.lock"),
)


@pytest.fixture(scope="module")
def built(littered, run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    run("-m", "hatchling", "build", "-d", folder, cwd=littered)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    return files_of_wheel(next(built.glob("*.whl")))


@pytest.fixture(scope="module")
def sdist(built):
    return files_of_sdist(next(built.glob("*.tar.gz")))


def test_nothing_that_lies_about_gets_into_the_wheel(wheel, secret):
    assert [name for name, content in wheel.items() if secret.encode() in content] == []


def test_nothing_that_lies_about_gets_into_the_sdist(sdist, secret):
    assert [name for name, content in sdist.items() if secret.encode() in content] == []


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel, names):
    package = {
        name.removeprefix("server/") for name in names if name.startswith("server/doubleword_batch")
    }

    assert {name for name in wheel if ".dist-info/" not in name} == package


def test_the_sdist_holds_every_file_but_those_that_only_a_clone_needs(sdist, names):
    assert set(sdist) - {"PKG-INFO"} == {
        name for name in names if not name.startswith(ONLY_IN_A_CLONE)
    }
