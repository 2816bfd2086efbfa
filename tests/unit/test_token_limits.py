"""Texts that are longer than PE-Core's 32 tokens: cut the same way everywhere, and counted everywhere."""

from captioned import write_msrvtt
from describe_world import write_world
from kinetext.backbones.architecture import token_limit
from kinetext.backbones.checkpoint import save_backbone
from kinetext.config.data import DatasetOptions
from kinetext.core.schemas import is_used
from kinetext.core.tables import read_rows, write_table
from kinetext.data.inspect import inspect
from kinetext.report.inputs import summarize_texts
from kinetext.texts.checks import TokenLimit, check_texts
from kinetext.texts.describe import describe_classes
from kinetext.texts.providers.base import Text
from splits import write_splits

LONG = "the hand lifts the cup from the table " * 5  # 40 words, a token each
SHORT = "the hand lifts the cup"
CUT = "cut: 42 tokens, the backbone takes 32"


def test_long_texts_of_a_model_like_pe_are_cut_and_counted(tmp_path, capsys, caplog):
    import small_timm

    backbone = small_timm.small("pe")
    save_backbone(backbone, tmp_path / "pe", {"weights": "random"}, "timm_vit")
    limit = TokenLimit(*token_limit(tmp_path / "pe"))

    # what the encoder reads: 32 tokens with start and end
    tokens = backbone.tokenize([SHORT, LONG])
    assert tokens.length_K.tolist() == [limit.count(SHORT), 32] == [7, 32]
    assert tokens.ids_KL[1, -1] == tokens.ids_KL[0, 6] == 49407
    assert "1 of 2 texts are over 32 tokens and were cut" in caplog.text

    # descriptions: rejected, or used without their end if checks are off
    rows = {"up": [Text("up", "up", kind="name"), Text("up", LONG, kind="motion"), Text("up", SHORT, kind="motion")]}
    statuses = [
        [t.status for t in check_texts(rows, {}, limit=limit, skip_checks=skip)["up"]] for skip in (False, True)
    ]
    assert statuses == [["ok", CUT.replace("cut", "long"), "ok"], ["ok", CUT, "ok"]]
    assert list(map(is_used, statuses[0])) == [True, False, True]

    # the table of texts, and the report
    clips = [{"clip_id": "a", "split": "train", "label": None, "captions": [SHORT, LONG]}]
    write_table("clips", clips, tmp_path / "clips.parquet", {"labels": [], "pairs": []})
    world = write_world(tmp_path / "other", name="captions", limit=limit)
    world |= {"clips": tmp_path / "clips.parquet", "splits": write_splits(tmp_path / "clips.parquet")}
    describe_classes(**world)
    assert [row["status"] for row in read_rows("texts", world["output"])] == ["ok", CUT]
    assert summarize_texts(world["output"])["cut"] == 1
    assert (
        "texts.captions: 1 of 2 texts are cut at the token limit; the first: 'a', 42 tokens" in capsys.readouterr().err
    )

    # inspect, before anything is computed
    options = DatasetOptions(module="msrvtt", options=write_msrvtt(tmp_path))
    annotations = tmp_path / "lists/MSRVTT_data.json"
    annotations.write_text(annotations.read_text().replace("a man, a plan", LONG))
    inspect("mine", options, tmp_path / "media", tmp_path / "found", token_limits={"pe": (limit.tokens, limit.count)})
    assert f"warning: 1 of 5 texts are longer than the 32 tokens of pe, which cuts their end: {LONG[:20]}" in (
        capsys.readouterr().out
    )
