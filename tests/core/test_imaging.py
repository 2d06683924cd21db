"""Radiograph files: what is read comes out grey and the right way round; what is not, is typed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.ImageFile
import pytest

from reportcard.api import Image, ImageError
from reportcard.core.imaging.read import READING, decode, read_file, resolve_under
from tests.fixtures.images import (
    BONE,
    DEPTHS,
    LUNG,
    WINDOWS,
    chest,
    dicom,
    ramp16,
    write_dicoms,
    write_images,
)

GREY = (chest() * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("pydicom", reason="the dicom extra is not installed")
    return write_dicoms(tmp_path_factory.mktemp("dicom"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("missing.png", "missing"),
        ("zero_bytes.jpg", "empty"),
        ("truncated.jpg", "truncated"),
        ("truncated.png", "truncated"),
        ("bomb.png", "bomb"),
        ("big.png", "bomb"),
        ("one_pixel.png", "empty_frame"),
        ("text.png", "unreadable"),
        ("gif.png", "unreadable"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_broken_file_is_an_error_of_its_kind(
    files: dict[str, Path], name: str, kind: str
) -> None:
    with pytest.raises(ImageError) as caught:
        Image("im-7", "PA", files[name]).pixels()
    assert caught.value.kind == kind
    assert "im-7" in str(caught.value)
    assert str(files[name]) in str(caught.value)


def test_a_folder_is_unreadable_and_no_path_is_missing(tmp_path: Path) -> None:
    for path, kind in ((tmp_path, "unreadable"), (None, "missing")):
        with pytest.raises(ImageError) as caught:
            Image("im-7", "PA", path).pixels()
        assert caught.value.kind == kind


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_before_it_is_decoded(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(self: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", decoded)
    with pytest.raises(ImageError, match="9600 × 10500"):
        read_file(files["big.png"])


def test_a_truncated_file_stays_an_error_when_model_code_allows_it(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageError) as caught:
        read_file(files["truncated.jpg"])
    assert caught.value.kind == "truncated"


def test_sixteen_bits_are_scaled_and_not_clipped(files: dict[str, Path]) -> None:
    reading = read_file(files["ramp16.png"])
    assert reading.pixels.tolist() == [[0, 0, 1], [128, 254, 255]]
    assert (reading.pixels == np.rint(ramp16() / 257)).all()
    assert "png16:round(x/257)" in reading.rules
    assert "png16:round(x/257)" in READING


@pytest.mark.parametrize("name", ["grey.png", "palette.png"])
def test_grey_and_a_grey_palette_are_read_as_they_are(files: dict[str, Path], name: str) -> None:
    assert (read_file(files[name]).pixels == GREY).all()


@pytest.mark.parametrize("name", ["grey.jpg", "rgb.jpg", "cmyk.jpg", "jpeg_called.png"])
def test_a_jpeg_is_the_same_grey_in_every_colour_space(files: dict[str, Path], name: str) -> None:
    difference = read_file(files[name]).pixels.astype(int) - GREY
    assert abs(difference).mean() < 2
    assert abs(difference).max() < 40


@pytest.mark.parametrize("name", ["grey.png", "grey.jpg"])
def test_a_picture_called_dcm_is_read_by_its_bytes(
    files: dict[str, Path], tmp_path: Path, name: str
) -> None:
    (tmp_path / "x.dcm").write_bytes(files[name].read_bytes())
    assert (read_file(tmp_path / "x.dcm").pixels == read_file(files[name]).pixels).all()


def test_colour_becomes_luma(files: dict[str, Path]) -> None:
    reading = read_file(files["rgb.png"])
    luma = GREY * (0.299 + 0.114) + (GREY // 2) * 0.587
    assert abs(reading.pixels - luma).max() <= 1
    assert "RGB luma" in reading.rules


def test_one_bit_is_black_and_white(files: dict[str, Path]) -> None:
    assert set(np.unique(read_file(files["bilevel.png"]).pixels)) == {0, 255}


@pytest.mark.parametrize("name", ["alpha.png", "rgba.png"])
def test_what_is_transparent_is_black(files: dict[str, Path], name: str) -> None:
    pixels = read_file(files[name]).pixels
    assert (pixels[:, :10] == 0).all()
    assert (pixels[:, 10:] == GREY[:, 10:]).all()


def test_a_constant_image_is_read_and_noted(files: dict[str, Path]) -> None:
    reading = read_file(files["constant.png"])
    assert (reading.pixels == 7).all()
    assert "constant" in reading.rules
    assert "constant" not in read_file(files["grey.png"]).rules


def test_pixels_may_be_written_to(files: dict[str, Path]) -> None:
    for name in ("grey.png", "ramp16.png", "rgb.png"):
        Image("i", "PA", files[name]).pixels()[0, 0] = 1  # torch.from_numpy asks for it


def test_a_rendered_image_needs_no_file() -> None:
    image = Image("i", "PA", read=lambda: np.arange(6, dtype=np.uint8).reshape(2, 3))
    assert image.pixels().shape == (2, 3)
    assert decode(image).rules == ("rendered",)


@pytest.mark.parametrize(
    "relative", ["/etc/passwd", "../x.png", "a/../../x.png", "a/../b.png", "out/x.png", "x\0.png"]
)
def test_a_path_out_of_the_root_is_refused(tmp_path: Path, relative: str) -> None:
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    (tmp_path / "root" / "a" / "link.png").symlink_to("/etc/passwd")
    for path in (relative, "a/link.png"):
        with pytest.raises(ImageError) as caught:
            resolve_under(tmp_path / "root", path)
        assert caught.value.kind == "outside"


def test_a_path_in_the_root_is_resolved_also_over_links_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk" / "files").mkdir(parents=True)
    (tmp_path / "disk" / "p10").symlink_to("files")
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    assert resolve_under(tmp_path / "root", "p10/x.png") == tmp_path / "disk" / "files" / "x.png"
    (tmp_path / "disk-2").mkdir()
    (tmp_path / "disk" / "twin").symlink_to(tmp_path / "disk-2")
    with pytest.raises(ImageError):  # a sibling whose name begins like the root's
        resolve_under(tmp_path / "root", "twin/x.png")
    monkeypatch.chdir(tmp_path)
    assert resolve_under(Path("root"), "x.png") == tmp_path / "disk" / "x.png"


def test_without_pydicom_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(bytes(128) + b"DICM")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImageError, match=r"pip install 'cxr-reportcard\[dicom\]'"):
        read_file(tmp_path / "x")


@pytest.mark.parametrize("name", ["grey.png", "grey.jpg", "ramp16.png", "cmyk.jpg", "rgba.png"])
def test_damaged_bytes_are_read_or_refused_and_nothing_else(
    files: dict[str, Path], tmp_path: Path, name: str
) -> None:
    rng, whole = np.random.default_rng(0), np.frombuffer(files[name].read_bytes(), np.uint8)
    outcomes = set()
    for _ in range(60):
        bytes_ = whole.copy()
        bytes_[rng.integers(0, len(whole), 5)] = rng.integers(0, 256, 5)
        (tmp_path / name).write_bytes(bytes_.tobytes())
        try:
            outcomes.add(read_file(tmp_path / name).pixels.dtype.name)
        except ImageError as error:
            outcomes.add(error.kind)
    assert "unreadable" in outcomes
    assert outcomes <= {"uint8", "unreadable", "truncated", "bomb", "empty_frame"}


class TestDicom:
    """Reading DICOM, with pydicom and, where they are installed, its decoders."""

    @pytest.fixture(autouse=True)
    def needs_pydicom(self) -> None:
        pytest.importorskip("pydicom", reason="the dicom extra is not installed")

    @pytest.mark.parametrize("depth", DEPTHS)
    @pytest.mark.parametrize("window", WINDOWS)
    @pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
    def test_lung_is_darker_than_bone(
        self, written: dict[str, Path], kind: str, window: str, depth: int
    ) -> None:
        reading = read_file(written[f"{kind} {window} {depth}"])
        assert int(reading.pixels[BONE]) - int(reading.pixels[LUNG]) > 100
        assert ("inverted" in reading.rules) == (kind == "MONOCHROME1")
        used = {"none": "minmax", "one": "window 1 of 1", "two": "window 1 of 2", "lut": "voi lut"}
        assert used[window] in reading.rules

    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize("entry", [8, 12, 16])
    @pytest.mark.parametrize("depth", DEPTHS)
    def test_a_table_of_any_length_and_depth_is_looked_up(
        self, tmp_path: Path, depth: int, entry: int, packed: bool
    ) -> None:
        data = dicom("MONOCHROME2", "lut", depth, entry=entry)
        if packed and entry == 8:  # two entries to a word
            (table,) = data.VOILUTSequence
            table.LUTData = np.frombuffer(table.LUTData, "<u2").astype(np.uint8).tobytes()
        reading = saved(data, tmp_path)
        assert "voi lut" in reading.rules
        assert abs(reading.pixels - chest() ** 1.5 * 255).max() < 2.6

    def test_a_table_may_begin_below_zero_and_ends_hold_beyond_it(self, tmp_path: Path) -> None:
        data = dicom("MONOCHROME2", "lut", 12, entry=8)
        plain = saved(data, tmp_path).pixels
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.VOILUTSequence[0].LUTDescriptor = [4096, 2**16 - 1024, 8]
        assert (saved(data, tmp_path).pixels == plain).all()
        data.RescaleIntercept = -9000
        assert not saved(data, tmp_path).pixels.any()

    def test_a_table_shorter_than_it_says_is_refused(self, tmp_path: Path) -> None:
        data = dicom("MONOCHROME2", "lut", 12)
        data.VOILUTSequence[0].LUTData = bytes(100)
        with pytest.raises(ImageError, match="descriptor"):
            saved(data, tmp_path)

    @pytest.mark.parametrize("depth", DEPTHS)
    def test_a_full_window_gives_the_drawn_values_at_every_depth(
        self, written: dict[str, Path], depth: int
    ) -> None:
        for kind in ("MONOCHROME1", "MONOCHROME2"):
            pixels = read_file(written[f"{kind} one {depth}"]).pixels
            assert abs(pixels - chest() * 255).max() < 2.6

    @pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
    def test_an_inverse_presentation_shape_inverts_once_in_all(
        self, tmp_path: Path, kind: str
    ) -> None:
        data = dicom("MONOCHROME1", "one")
        data.PhotometricInterpretation, data.PresentationLUTShape = kind, "INVERSE"
        pixels = saved(data, tmp_path).pixels
        assert pixels[LUNG] < pixels[BONE]

    @pytest.mark.parametrize(
        ("centre", "width"),
        [(None, 100), (100, None), (100, 0), (100, -5), ([1, 2], 100), (float("nan"), 100)],
    )
    def test_an_unusable_window_falls_back_to_the_range(
        self, tmp_path: Path, centre: Any, width: Any
    ) -> None:
        data = dicom()
        for key, value in (("WindowCenter", centre), ("WindowWidth", width)):
            if value is not None:
                setattr(data, key, value)
        reading = saved(data, tmp_path)
        assert "minmax" in reading.rules
        assert (reading.pixels.min(), reading.pixels.max()) == (0, 255)

    def test_the_window_is_in_units_after_the_rescale(self, tmp_path: Path) -> None:
        data = dicom("MONOCHROME2", "one", 12)
        plain = saved(data, tmp_path).pixels
        data.RescaleSlope, data.RescaleIntercept = 2, -1000
        data.WindowCenter, data.WindowWidth = 2 * data.WindowCenter - 1000, 2 * data.WindowWidth
        assert abs(saved(data, tmp_path).pixels.astype(int) - plain).max() <= 1

    def test_window_functions_of_the_standard(self, tmp_path: Path) -> None:
        data = dicom("MONOCHROME2", "one", 8)
        data.WindowCenter, data.WindowWidth = 100, 50
        stored = np.frombuffer(data.PixelData, np.uint8).reshape(80, 96).astype(float)
        expected = {
            "LINEAR": ((stored - 99.5) / 49 + 0.5).clip(0, 1),
            "LINEAR_EXACT": ((stored - 100) / 50 + 0.5).clip(0, 1),
            "SIGMOID": 1 / (1 + np.exp(-4 * (stored - 100) / 50)),
        }
        for function, unit in expected.items():
            data.VOILUTFunction = function
            assert abs(saved(data, tmp_path).pixels - unit * 255).max() < 0.51

    def test_padding_does_not_stretch_the_range(self, tmp_path: Path) -> None:
        data = dicom("MONOCHROME2", "none", 12)
        plain = saved(data, tmp_path).pixels
        stored = np.frombuffer(data.PixelData, np.uint16).reshape(80, 96).copy()
        stored[:, :4] = 60_000
        data.BitsStored, data.HighBit, data.PixelData = 16, 15, stored.tobytes()
        data.PixelPaddingValue = 60_000
        assert (saved(data, tmp_path).pixels[:, 4:] == plain[:, 4:]).all()

    def test_rgb_becomes_luma_and_frames_give_the_first(self, tmp_path: Path) -> None:
        data = dicom("MONOCHROME2", "none", 8)
        colour = np.stack([GREY, GREY // 2, GREY], axis=-1)
        data.PhotometricInterpretation, data.SamplesPerPixel = "RGB", 3
        data.PlanarConfiguration, data.PixelData = 0, colour.tobytes()
        assert "RGB luma" in saved(data, tmp_path).rules
        data = dicom("MONOCHROME2", "one", 8)
        first = saved(data, tmp_path).pixels
        data.NumberOfFrames, data.PixelData = 2, data.PixelData + bytes(len(data.PixelData))
        reading = saved(data, tmp_path)
        assert (reading.pixels == first).all()
        assert "frame 1 of 2" in reading.rules

    @pytest.mark.parametrize(
        ("syntax", "plugin", "module"),
        [("JPEG2000Lossless", "pylibjpeg", "openjpeg"), ("RLELossless", "pydicom", "pydicom")],
    )
    def test_compressed_is_the_same_picture_and_a_part_of_it_is_truncated(
        self, tmp_path: Path, syntax: str, plugin: str, module: str
    ) -> None:
        import pydicom.uid

        pytest.importorskip(module, reason="the dicom extra is not installed")
        data = dicom("MONOCHROME1", "one", 12)
        plain = saved(data, tmp_path).pixels
        data.compress(getattr(pydicom.uid, syntax), encoding_plugin=plugin)
        assert (saved(data, tmp_path).pixels == plain).all()
        path = tmp_path / "x.dcm"
        whole = path.read_bytes()
        for share in (0.3, 0.9, 0.99):
            path.write_bytes(whole[: int(len(whole) * share)])
            assert kind_of(path) == "truncated"

    @pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGLSLossless"])
    def test_lossless_jpeg_is_the_same_picture(self, tmp_path: Path, syntax: str) -> None:
        gdcm = pytest.importorskip("gdcm", reason="the dicom extra is not installed")
        plain = saved(dicom("MONOCHROME1", "one", 12), tmp_path).pixels
        recode(gdcm, tmp_path / "x.dcm", syntax)
        assert (read_file(tmp_path / "x.dcm").pixels == plain).all()

    def test_an_uncompressed_file_cut_short_is_truncated(self, tmp_path: Path) -> None:
        saved(dicom(), tmp_path)
        path = tmp_path / "x.dcm"
        path.write_bytes(path.read_bytes()[:-100])
        assert kind_of(path) == "truncated"

    def test_a_bomb_is_told_from_the_header(self, tmp_path: Path) -> None:
        data = dicom()
        data.Rows = data.Columns = 60_000
        data.save_as(tmp_path / "x.dcm", enforce_file_format=True)
        assert kind_of(tmp_path / "x.dcm") == "bomb"

    def test_a_codestream_larger_than_its_header_is_not_decoded(self, tmp_path: Path) -> None:
        import pydicom.uid

        pytest.importorskip("openjpeg", reason="the dicom extra is not installed")
        data = dicom("MONOCHROME2", "one", 12)
        data.compress(pydicom.uid.JPEG2000Lossless, encoding_plugin="pylibjpeg")
        saved(data, tmp_path)
        path, size = tmp_path / "x.dcm", np.array([96, 80], ">u4").tobytes()
        whole = path.read_bytes()
        assert size in whole
        path.write_bytes(whole.replace(size, np.array([60_000, 60_000], ">u4").tobytes(), 1))
        with pytest.raises(ImageError, match="60000 × 60000 inside"):
            read_file(path)

    @pytest.mark.parametrize("tag", ["Rows", "PhotometricInterpretation", "BitsStored"])
    def test_a_header_without_what_it_needs_is_unreadable(self, tmp_path: Path, tag: str) -> None:
        data = dicom()
        delattr(data, tag)
        data.save_as(tmp_path / "x.dcm", enforce_file_format=True)
        assert kind_of(tmp_path / "x.dcm") == "unreadable"

    def test_text_called_dcm_is_unreadable(self, tmp_path: Path) -> None:
        (tmp_path / "x.dcm").write_text("study_id,findings\n" * 20)
        assert kind_of(tmp_path / "x.dcm") == "unreadable"

    def test_no_value_of_the_header_is_in_the_error(self, tmp_path: Path) -> None:
        data = dicom("MONOCHROME2", "one", 12)
        data.PatientName = data.StudyDescription = "CANARY-1"
        data.add_new(0x00281050, "LO", "CANARY-2")  # a window that is no number
        del data.BitsStored
        data.save_as(tmp_path / "x.dcm", enforce_file_format=True)
        with pytest.raises(ImageError) as caught:
            read_file(tmp_path / "x.dcm")
        assert "CANARY" not in str(caught.value)


def saved(data: Any, folder: Path) -> Any:
    """The reading of a dataset that is written to folder/x.dcm."""
    data.save_as(folder / "x.dcm", enforce_file_format=True)
    return read_file(folder / "x.dcm")


def kind_of(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_file(path)
    return caught.value.kind


def recode(gdcm: Any, path: Path, syntax: str) -> None:
    """Write a DICOM file anew in another transfer syntax."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
