"""Sensors as data: names, wavelengths and units of their bands, and how files store the values.

Wavelengths are band centres in nanometres: of Sentinel-2A (Sentinel-2B differs by up to 4 nm, in
B12 by 17) by ESA's spectral responses, of Landsat 8 by USGS; those of aerial cameras are nominal.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cmid.data.text_files import read_json


@dataclass(frozen=True)
class Band:
    """One band of a sensor.

    Attributes:
        name: band name as the provider writes it.
        wavelength: centre wavelength in nanometres.
        unit: physical unit once scale and offset are applied: ``reflectance``, ``K`` or ``DN``.
        scale, offset: usual ones: ``value = stored * scale + offset``.
    """

    name: str
    wavelength: float
    unit: str = "DN"
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Sensor:
    """A sensor at one processing level.

    Attributes:
        name: name of the preset.
        bands: bands in the order of a file that holds all of them.
        nodata: usual value of missing pixels, None without one.
    """

    name: str
    bands: tuple[Band, ...]
    nodata: float | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(band.name for band in self.bands)

    def band(self, name: str) -> Band:
        """The band of a name; ``b4`` is ``B04``.

        Raises:
            ValueError: there is none; says which there are.
        """
        for band in self.bands:
            if band_key(band.name) == band_key(name):
                return band
        raise ValueError(f"{self.name} has no band {name!r}: it has {', '.join(self.names)}")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Sensor:
        """Read ``{"name": ..., "bands": [{"name": ..., "wavelength": ...}, ...], "nodata": ...}``.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it does not describe a sensor; names the file.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no file {path} that describes a sensor: correct the path")
        try:
            content = read_json(path)
            bands = tuple(Band(**entry) for entry in content.pop("bands"))
            sensor = cls(bands=bands, **content)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} describes no sensor ({error}): it holds name, nodata, and bands, each of"
                " name, wavelength, unit, scale and offset"
            ) from error
        if not bands or len({band_key(name) for name in sensor.names}) < len(bands):
            raise ValueError(f"{path} has no bands, or two of one name: name each band once")
        return sensor


def band_key(name: str) -> str:
    """A band's name without case, spaces and leading zeros of its number."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\s_-]", "", name).lower())


def find_sensor(sensor: str | Sensor) -> Sensor:
    """A sensor by the name of its preset, or from a JSON file.

    Raises:
        FileNotFoundError, ValueError: as `Sensor.from_json`; or no such preset.
    """
    if isinstance(sensor, Sensor):
        return sensor
    if sensor.lower() in SENSORS:
        return SENSORS[sensor.lower()]
    if sensor.endswith(".json"):
        return Sensor.from_json(sensor)
    raise ValueError(
        f"no sensor {sensor!r}: give one of {', '.join(SENSORS)}, or a JSON file that describes it"
    )


def band_numbers(
    bands: Sequence[int | str] | None,
    *,
    path: str,
    descriptions: Sequence[str],
    sensor: Sensor | None,
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Numbers of bands in a file, counted from 1, and their names.

    A file's own descriptions tell its order, where they hold the names that are needed; otherwise a
    file with as many bands as the sensor has is in the sensor's order.

    Args:
        bands: numbers or names; None for all bands of the file.
        path: path of the file, for messages.
        descriptions: band descriptions of the file, empty where it has none.

    Returns:
        The numbers, and the sensor's names of these bands (without a sensor, where bands are named:
        the file's); empty where they cannot be known.

    Raises:
        ValueError: a name that the sensor or the file does not have, or a file of which the order
            of bands is unknown.
    """
    chosen: Sequence[int | str] = bands if bands is not None else range(1, len(descriptions) + 1)
    if sensor is not None:
        chosen = [sensor.band(band).name if isinstance(band, str) else band for band in chosen]
    known = {band_key(text): number for number, text in enumerate(descriptions, 1) if text}
    if sensor is not None:
        named = {band_key(name) for name in sensor.names} & {*known}
        if not named and len(descriptions) == len(sensor.bands):
            known = {band_key(name): number for number, name in enumerate(sensor.names, 1)}
        elif not named and any(isinstance(band, str) for band in chosen):
            raise ValueError(
                f"{path} has {len(descriptions)} bands without descriptions, {sensor.name}"
                f" {len(sensor.bands)}: describe its bands by name, or give numbers in bands"
            )
    numbers = []
    for band in chosen:
        if isinstance(band, int):
            numbers.append(band)
            continue
        if band_key(band) not in known:
            there = ", ".join(filter(None, descriptions)) or "no descriptions of its bands"
            raise ValueError(f"{path} has no band {band!r}: it has {there}")
        numbers.append(known[band_key(band)])
    by_number = {number: key for key, number in known.items()}
    keys = [by_number.get(number, "") for number in numbers]
    if sensor is None:
        asked = bands is not None and all(isinstance(band, str) for band in bands)
        names = tuple(descriptions[number - 1] for number in numbers) if asked else ()
    else:
        of_sensor = {band_key(name): name for name in sensor.names}
        names = tuple(of_sensor.get(key, "") for key in keys)
    return tuple(numbers), names if all(names) else ()


def _reflective(wavelengths: dict[str, float], scale: float, offset: float) -> tuple[Band, ...]:
    return tuple(Band(n, w, "reflectance", scale, offset) for n, w in wavelengths.items())


def _counts(**wavelengths: float) -> tuple[Band, ...]:
    return tuple(Band(name, wavelength) for name, wavelength in wavelengths.items())


_MSI = {
    **{"B01": 442.7, "B02": 492.4, "B03": 559.8, "B04": 664.6, "B05": 704.1, "B06": 740.5},
    **{"B07": 782.8, "B08": 832.8, "B8A": 864.7, "B09": 945.1, "B10": 1373.5, "B11": 1613.7},
    **{"B12": 2202.4},
}
_MSI_L2A = {name: wavelength for name, wavelength in _MSI.items() if name != "B10"}
_OLI = {
    **{"B1": 443.0, "B2": 482.0, "B3": 561.4, "B4": 654.6, "B5": 864.7, "B6": 1608.9},
    **{"B7": 2200.7, "B8": 589.5, "B9": 1373.4},
}
_TIRS = {"B10": 10895.0, "B11": 12005.0}
_OLI_L2 = {f"SR_{name}": w for name, w in _OLI.items() if name not in ("B8", "B9")}

SENSORS: dict[str, Sensor] = {
    sensor.name: sensor
    for sensor in (
        # Since processing baseline 04.00 (January 2022) stored numbers are 1000 higher.
        Sensor("sentinel2_l1c", _reflective(_MSI, 1e-4, -0.1), nodata=0),
        Sensor("sentinel2_l2a", _reflective(_MSI_L2A, 1e-4, -0.1), nodata=0),
        # Before, and where a provider takes the 1000 off again ("harmonized").
        Sensor("sentinel2_l1c_harmonized", _reflective(_MSI, 1e-4, 0.0), nodata=0),
        Sensor("sentinel2_l2a_harmonized", _reflective(_MSI_L2A, 1e-4, 0.0), nodata=0),
        # Collection 2. Level 1: reflectance at the top of the atmosphere, not yet divided by the
        # sine of the sun's elevation; thermal bands are numbers, whose radiance needs the metadata.
        Sensor(
            "landsat89_l1",
            (*_reflective(_OLI, 2e-5, -0.1), *_counts(**_TIRS)),
            nodata=0,
        ),
        Sensor(
            "landsat89_l2",
            (
                *_reflective(_OLI_L2, 2.75e-5, -0.2),
                Band("ST_B10", _TIRS["B10"], "K", 0.00341802, 149.0),
            ),
            nodata=0,
        ),
        Sensor("naip", _counts(R=635.0, G=555.0, B=465.0, N=845.0)),
        Sensor("rgb_aerial", _counts(R=650.0, G=550.0, B=460.0)),
    )
}
"""The presets by name: Sentinel-2 (MSI), Landsat 8 and 9 (OLI, TIRS), NAIP, aerial RGB."""
