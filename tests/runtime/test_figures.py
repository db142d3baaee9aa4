from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType

import pytest

from quietframe.card import ModelCard
from quietframe.figures import figure_table, headline

Figures = Mapping[str, float]


@pytest.fixture
def card_with(tiny_models: ModuleType) -> Callable[..., ModelCard]:
    def make(**sets: Figures) -> ModelCard:
        metrics = {name.replace("_", " "): figures for name, figures in sets.items()}
        return replace(tiny_models.TinyModel().card(), metrics=metrics)

    return make


def cells(figures: Figures) -> dict[tuple[str, str], str]:
    columns, rows = figure_table(figures)
    assert all(len(row) == len(columns) for row in rows)
    titles = [column.removeprefix(">") for column in columns]
    return {(row[0], title): cell for row in rows for title, cell in zip(titles[1:], row[1:], strict=True) if cell}


def test_a_row_for_each_noise_and_a_column_for_each_measure() -> None:
    figures = {
        "noisy_psnr_db_uniform0.9": 8.7612,
        "psnr_db_uniform0.9": 20.456,
        "bce_uniform0.9": 0.08123,
        "psnr_db_normal0.55unclipped": 19,
        "rmse_gray0.4": 0.0712,
        "mse_normal0.5mean0.5": 0.015512,
        "ssim_normal0.5": 0.9,
        "accuracy": 0.9931,
        "accuracy_uniform0.9": 0.981,
    }
    assert cells(figures) == {
        ("uniform0.9", "PSNR dB"): "8.76 → 20.46",
        ("uniform0.9", "BCE"): "0.0812",
        ("normal0.55unclipped", "PSNR dB"): "19.00",
        ("gray0.4", "RMSE"): "0.0712",
        ("normal0.5mean0.5", "MSE"): "0.01551",
        ("normal0.5", "SSIM"): "0.9000",
        ("clean", "accuracy %"): "99.31",
        ("uniform0.9", "accuracy %"): "98.10",
    }


def test_what_the_export_lost_has_a_column_of_its_own() -> None:
    figures = {"psnr_db": 31.2, "drop_psnr_db": 0.14, "psnr_db_sigma5": 37.4, "accuracy_percent": 97.5}
    assert cells(figures) == {
        ("all", "PSNR dB"): "31.20",
        ("all", "PSNR dB lost"): "0.14",
        ("sigma5", "PSNR dB"): "37.40",
        ("all", "accuracy %"): "97.50",
    }


@pytest.mark.parametrize("name", ["p50_ms", "psnr", "psnr_dbx", "accuracyful", "", "noisy_", "drop_it", "fps 640x480"])
def test_figures_that_are_not_known_keep_their_names(name: str) -> None:
    assert cells({name: 12.5}) == {(name, "value"): "12.5"}
    assert cells({name: 12.5, "mse": 1})[name, "value"] == "12.5"


def test_a_noisy_figure_alone() -> None:
    assert cells({"noisy_psnr_db_sigma25": 20.5}) == {("sigma25", "PSNR dB"): "20.50 →"}


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        ({}, ""),
        ({"speed": {"p50_ms": 4}}, ""),
        ({"empty": {}, "photos": {"psnr_db": 31.234}}, "PSNR 31.23 dB (photos)"),
        ({"photos": {"psnr_db": 31.2, "psnr_db_sigma5": 37.4, "drop_psnr_db": 9}}, "PSNR 37.40 dB sigma5 (photos)"),
        (
            {"frames": {"psnr_db": 1}, "MNIST_test": {"accuracy": 0.9752, "accuracy_uniform0.9": 0.3}},
            "accuracy 97.52 % clean, 30.00 % uniform0.9 (MNIST test)",
        ),
        (
            {"MNIST_test": {"noisy_psnr_db_a": 1, "psnr_db_a": 18.6, "psnr_db_b": 14.3, "psnr_db_c": 16, "mse_a": 7}},
            "PSNR 14.30 to 18.60 dB, 3 noises (MNIST test)",
        ),
        ({"x": {"psnr_db_u": 20.0, "accuracy_u": 0.955}}, "accuracy 95.50 % u; PSNR 20.00 dB u (x)"),
    ],
)
def test_the_headline(card_with: Callable[..., ModelCard], sets: dict[str, Figures], says: str) -> None:
    assert headline(card_with(**sets)) == says
