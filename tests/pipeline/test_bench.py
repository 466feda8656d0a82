"""`bench` over builds of a tiny network, with the real runtimes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from kit.builds import House, Recorder, contents, flip
from kit.datasets import write_folder
from PIL import Image as Pillow

from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.errors import InputError, IntegrityError, ResourceError, UsageError
from visiondeploy.pipeline.bench import Benched, bench
from visiondeploy.pipeline.folder import BUILD
from visiondeploy.types import Outcome

PLOTS = ("tradeoff", "speedups", "latencies", "drift", "parts-1", "types")


def run(room: House, *folders: Path, events: Recorder | None = None, **given) -> Benched:
    given = {"images": None, "seconds": None, "threads": None, "out": None} | given
    with contextlib.chdir(room.cwd):
        done = bench(folders, events=events or Recorder(), **given)
    return Benched(done.report, room.cwd / done.folder, done.pictures and room.cwd / done.pictures, done.validation)


@pytest.fixture(scope="module")
def room(store_root, tmp_path_factory) -> House:
    """A builds/ with two precisions of one network, another network, a training, an unfinished and a damaged build."""
    room = House(store_root, tmp_path_factory.mktemp("bench"))
    room.build("train.steps=0", "backend=onnxruntime", "name=other", until="compile")
    room.build("name=training", until="train")
    for name, content in (("unfinished", '{"incomplete": true}'), ("damaged", "{")):
        folder = room.cwd / "builds" / name
        folder.mkdir()
        (folder / BUILD).write_text(content)
    room.build("precision=fp16")
    room.build("precision=int8")
    return room


@pytest.fixture(scope="module")
def all_of_them(room) -> tuple[Benched, Recorder]:
    events = Recorder()
    return run(room, events=events), events


@pytest.fixture
def edited(room, tmp_path):
    """A build whose record was changed."""
    built = House(room.store, tmp_path).build("precision=int8")

    def edit(change) -> Path:
        found = json.loads((built.folder / BUILD).read_text(encoding="utf-8"))
        change(found["build"])
        (built.folder / BUILD).write_text(json.dumps(found), encoding="utf-8")
        return built.folder

    return edit


class TestAllBuilds:
    def test_engines_of_one_network_stand_in_one_table(self, all_of_them) -> None:
        assert [row.name for row in all_of_them[0].report.rows] == [
            "toy-fp32-pytorch",
            "toy-fp16-openvino",
            "toy-fp16-onnxruntime",
            "toy-int8-openvino",
            "toy-int8-onnxruntime",
        ]
        assert len({len(row.latency_ms.blocks) for row in all_of_them[0].report.rows}) == 1
        assert all_of_them[0].report.verdict.status is Outcome.PASS

    def test_builds_that_are_left_out_are_named(self, all_of_them) -> None:
        notes = all_of_them[0].report.notes
        assert len(notes) == 3
        assert all(note.startswith("left out: ") for note in notes)
        for words in (
            "builds/unfinished is incomplete",
            "builds/damaged/build.json is not a build's record",
            "builds/other-fp32-onnxruntime has other weights",
        ):
            assert any(words in note for note in notes), words

    def test_the_reports_and_the_pictures_are_written(self, room, all_of_them) -> None:
        done = all_of_them[0]
        assert done.folder == room.cwd / "builds" / "bench-toy-synthetic"
        plots = {f"plots/{name}.{kind}" for name in PLOTS for kind in ("png", "svg")}
        files = {"report.json", "report.md", "report.html", "pictures.json", "predictions.png"}
        files |= {"samples.safetensors"}
        assert {*contents(done.folder)} == files | plots
        assert Report.from_json((done.folder / "report.json").read_text(encoding="utf-8")) == done.report
        markdown = (done.folder / "report.md").read_text(encoding="utf-8")
        assert all(row.name in markdown for row in done.report.rows)
        with Pillow.open(done.pictures) as picture:
            # two images of 48 pixels' width, in columns: input, truth, baseline and four engines
            assert picture.size[0] >= 7 * 48
            assert picture.size[1] >= 2 * 32

    def test_it_is_told_as_one_stage(self, all_of_them) -> None:
        assert all_of_them[1].cached == {"bench": False}
        assert all_of_them[1].notes == {"bench": "5 rows"}

    def test_of_none_is_said(self, tmp_path, store_root) -> None:
        room = House(store_root, tmp_path)
        with pytest.raises(InputError, match="there is no build in builds/: make one first"):
            run(room)
        (tmp_path / "builds").touch()
        with pytest.raises(InputError, match="there is no build in builds/"):
            run(room)


class TestNamedBuilds:
    def test_what_is_asked_for_overrides_the_recipe(self, room) -> None:
        """Also a build that is named twice is measured once."""
        room.build("backend=pytorch", out=Path("alone"))
        folders = [Path("alone"), Path("builds/../alone")]
        done = run(room, *folders, images=2, seconds=1, threads=1, out=Path("deep/er"))
        assert [row.name for row in done.report.rows] == ["toy-fp32-pytorch"]
        assert {row.quality.n for row in done.report.rows} == {2}
        assert done.report.notes == ()
        assert (room.cwd / "deep" / "er" / "report.json").exists()

    def test_two_networks_are_not_compared(self, room) -> None:
        with pytest.raises(UsageError, match=r"cannot be compared with .*toy-int8: it has other weights; bench them"):
            run(room, Path("builds/toy-int8"), Path("builds/other-fp32-onnxruntime"))

    @pytest.mark.parametrize(
        ("field", "value", "words"),
        [("validation", "0" * 64, "other validation data"), ("spec", {"height": 64}, "another input size")],
    )
    def test_two_inputs_are_not_compared(self, room, edited, field, value, words) -> None:
        def change(record) -> None:
            if field == "spec":
                record["spec"]["input"] |= value
            else:
                record[field] = value

        with pytest.raises(UsageError, match=words):
            run(room, Path("builds/toy-int8"), edited(change))

    def test_a_build_without_engines(self, room) -> None:
        with pytest.raises(UsageError, match="ends with stage 'train' and has no engine: build it"):
            run(room, Path("builds/training-network"))

    def test_a_build_without_a_baseline(self, room) -> None:
        with pytest.raises(UsageError, match="was built only up to 'compile': build it whole"):
            run(room, Path("builds/other-fp32-onnxruntime"))

    @pytest.mark.parametrize("place", ["network/weights.safetensors", "engines/openvino/model.bin"])
    def test_a_changed_file_is_refused(self, edited, tmp_path, room, place) -> None:
        folder = edited(lambda record: None)
        flip(folder / place)
        with pytest.raises(IntegrityError, match=f"{place} has other bytes than were built"):
            run(room, folder, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_recipe_of_another_release_is_one_sentence(self, edited, room) -> None:
        folder = edited(lambda record: record["recipe"].update(colour="red"))
        with pytest.raises(InputError, match=r"recipe that this visiondeploy does not read \(colour\): build it again"):
            run(room, folder)

    def test_a_target_that_is_a_file_is_refused_before_anything_is_measured(self, room, tmp_path) -> None:
        (tmp_path / "out").write_text("mine")
        events = Recorder()
        for out in (tmp_path / "out", tmp_path / "out" / "below"):
            with pytest.raises(ResourceError, match="is a file, but a folder is needed there"):
                run(room, Path("builds/toy-int8"), out=out, events=events)
        assert events.started == []
        assert (tmp_path / "out").read_text() == "mine"

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("report.json", '{"coverage": 0.9}', r"report\.json is not a report of visiondeploy: .*not overwritten"),
            ("report.json", "[" * 10**5, r"report\.json is not a report: .*choose another folder with -o"),
            ("report.md", "mine", r"out holds report\.md and no report\.json: choose an empty or new folder"),
            ("predictions.png", "mine", r"out holds predictions\.png and no report\.json"),
        ],
    )
    def test_what_others_wrote_is_not_overwritten(self, room, tmp_path, name, content, words) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / name).write_text(content)
        events = Recorder()
        with pytest.raises(UsageError, match=words) as error:
            run(room, Path("builds/toy-int8"), out=tmp_path / "out", events=events)
        assert "\n" not in str(error.value)
        assert events.started == []
        assert contents(tmp_path) == {f"out/{name}": content.encode()}

    def test_its_own_report_is_replaced(self, room, tmp_path) -> None:
        room.build("backend=pytorch", out=Path("alone"))
        (tmp_path / "out").mkdir()
        for images in (1, 2):
            done = run(room, Path("alone"), images=images, seconds=1, out=tmp_path / "out")
        assert Report.from_json((tmp_path / "out" / "report.json").read_bytes()) == done.report
        assert {row.quality.n for row in done.report.rows} == {2}


class TestData:
    @pytest.fixture
    def on_a_folder(self, store_root, tmp_path):
        room = House(store_root, tmp_path)
        data = write_folder(tmp_path / "data", size=(32, 48))
        given = (f'data={{dataset="folder:{data}"}}', "data.options={}", "train.steps=0", "backend=onnxruntime")
        return room, data, room.build(*given, until="compile").folder

    def test_that_changed_since_is_said(self, on_a_folder) -> None:
        room, data, folder = on_a_folder
        with pytest.raises(UsageError, match="build it whole"):
            run(room, folder)
        first = next((data / "images" / "val").iterdir())
        Pillow.new("RGB", (48, 32), "red").save(first)
        with pytest.raises(InputError, match=r"the split 'val' of folder:.* has changed since .* was built: build"):
            run(room, folder)

    def test_a_path_from_where_the_build_was_made(self, store_root, tmp_path) -> None:
        room = House(store_root, tmp_path / "made")
        room.cwd.mkdir()
        write_folder(room.cwd / "data", size=(32, 48))
        given = ('data={dataset="folder:data"}', "data.options={}", "train.steps=0", "backend=onnxruntime")
        folder = room.build(*given, until="compile").folder
        with pytest.raises(InputError, match=r"built on folder:data, a path from where .*, and there is no data in /"):
            run(House(store_root, tmp_path), folder)
        with pytest.raises(UsageError, match="build it whole"):
            run(room, folder)

    def test_that_is_gone_is_said(self, on_a_folder) -> None:
        room, data, folder = on_a_folder
        data.rename(room.cwd / "moved")
        with pytest.raises(InputError, match="data' is not a folder"):
            run(room, folder)
