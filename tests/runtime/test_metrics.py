from __future__ import annotations

from dataclasses import replace

import pytest

from quietframe.card import Metric
from quietframe.metrics import by_set, headline, metric_table


def cells(*metrics: Metric) -> dict[tuple[str, str], str]:
    columns, rows = metric_table(metrics)
    assert all(len(row) == len(columns) for row in rows)
    titles = [column.removeprefix(">") for column in columns]
    return {(row[0], title): cell for row in rows for title, cell in zip(titles[1:], row[1:], strict=True) if cell}


def test_a_row_for_each_noise_and_a_column_for_each_measure():
    assert cells(
        Metric("test", "psnr_db", 20.456, "uniform0.9", noisy=8.7612),
        Metric("test", "bce", 0.08123, "uniform0.9"),
        Metric("test", "psnr_db", 19, "normal0.55unclipped"),
        Metric("test", "rmse", 0.0712, "gray0.4"),
        Metric("test", "mse", 0.015512, "normal0.5mean0.5"),
        Metric("test", "ssim", 0.9, "normal0.5"),
        Metric("test", "accuracy", 0.9931, "clean"),
        Metric("test", "accuracy", 0.981, "uniform0.9"),
    ) == {
        ("uniform0.9", "PSNR dB"): "8.76 → 20.46",
        ("uniform0.9", "BCE"): "0.0812",
        ("normal0.55unclipped", "PSNR dB"): "19.00",
        ("gray0.4", "RMSE"): "0.0712",
        ("normal0.5mean0.5", "MSE"): "0.01551",
        ("normal0.5", "SSIM"): "0.9000",
        ("clean", "accuracy %"): "99.31",
        ("uniform0.9", "accuracy %"): "98.10",
    }


def test_what_the_export_lost_has_a_column_of_its_own():
    found = cells(
        Metric("frames", "psnr_db", 31.2, drop=0.14),
        Metric("frames", "psnr_db", 37.4, "sigma 5"),
        Metric("frames", "accuracy", 0.975),
    )
    assert found == {
        ("all", "PSNR dB"): "31.20",
        ("all", "PSNR dB lost"): "0.14",
        ("sigma 5", "PSNR dB"): "37.40",
        ("all", "accuracy %"): "97.50",
    }


def test_a_measure_that_is_not_known_keeps_its_name():
    assert cells(Metric("speed", "p50_ms", 12.5, "640x480")) == {("640x480", "p50_ms"): "12.5"}


def test_sets_keep_their_order():
    b, a, more = Metric("b", "ssim", 1), Metric("a", "ssim", 1), Metric("b", "mse", 0)
    assert by_set([b, a, more]) == {"b": [b, more], "a": [a]}


SPEED, CLEAN = Metric("speed", "p50_ms", 4), Metric("MNIST test", "accuracy", 0.9752, "clean")
MANY = [Metric("MNIST test", "psnr_db", value, noise) for noise, value in (("a", 18.6), ("b", 14.3), ("c", 16))]
HEADLINES = [
    ([], ""),
    ([SPEED], ""),
    ([SPEED, Metric("photos", "psnr_db", 31.234)], "PSNR 31.23 dB (photos)"),
    ([Metric("x", "psnr_db", 31, drop=9), Metric("x", "psnr_db", 37.4, "sigma 5")], "PSNR 37.40 dB sigma 5 (x)"),
    (
        [Metric("frames", "psnr_db", 1), CLEAN, replace(CLEAN, value=0.3, noise="uniform0.9")],
        "accuracy 97.52 % clean, 30.00 % uniform0.9 (MNIST test)",
    ),
    ([*MANY, Metric("MNIST test", "mse", 7, "a")], "PSNR 14.30 to 18.60 dB, 3 noises (MNIST test)"),
    ([Metric("MNIST test", "psnr_db", 20, "u"), CLEAN], "accuracy 97.52 % clean; PSNR 20.00 dB u (MNIST test)"),
]


@pytest.mark.parametrize(("metrics", "says"), HEADLINES, ids=[says for _, says in HEADLINES])
def test_the_headline(metrics, says):
    assert headline(metrics) == says
