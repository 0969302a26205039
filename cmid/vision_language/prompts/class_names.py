"""Class names of public scene-classification sets, and names from folders.

Names are those of the sets' folders, written as words; EuroSAT's are spelled out, for
"SeaLake" says little to a text tower. Published results may have used other wordings: give those in
a file. The names of SkyScript-cls are second-hand: no copy of the set was at hand to compare them
with. A folder that they do not name is an error, and the set's own ``classnames.txt`` can be given.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from cmid.data.text_files import stripped_lines

_AID = """airport, bare land, baseball field, beach, bridge, center, church, commercial,
dense residential, desert, farmland, forest, industrial, meadow, medium residential, mountain, park,
parking, playground, pond, port, railway station, resort, river, school, sparse residential, square,
stadium, storage tanks, viaduct"""

_EUROSAT = """annual crop, forest, herbaceous vegetation, highway, industrial, pasture,
permanent crop, residential, river, sea or lake"""

_FMOW = """airport, airport hangar, airport terminal, amusement park, aquaculture,
archaeological site, barn, border checkpoint, burial site, car dealership, construction site,
crop field, dam, debris or rubble, educational institution, electric substation,
factory or powerplant, fire station, flooded road, fountain, gas station, golf course,
ground transportation station, helipad, hospital, impoverished settlement, interchange,
lake or pond, lighthouse, military facility, multi-unit residential, nuclear powerplant,
office building, oil or gas facility, park, parking lot or garage, place of worship, police station,
port, prison, race track, railway bridge, recreational facility, road bridge, runway, shipyard,
shopping mall, single-unit residential, smokestack, solar farm, space facility, stadium,
storage tank, surface mine, swimming pool, toll booth, tower, tunnel opening, waste disposal,
water treatment facility, wind farm, zoo"""

_MILLION_AID = """apartment, apron, bare land, baseball field, basketball court, beach, bridge,
cemetery, church, commercial area, dam, desert, detached house, dry field, forest, golf course,
greenhouse, ground track field, helipad, ice land, intersection, island, lake, meadow, mine,
mobile home park, oil field, orchard, paddy field, parking lot, pier, quarry, railway, river, road,
rock land, roundabout, runway, solar power plant, sparse shrub land, stadium, storage tank,
substation, swimming pool, tennis court, terraced field, train station, viaduct, wastewater plant,
wind turbine, works"""

_PATTERN_NET = """airplane, baseball field, basketball court, beach, bridge, cemetery, chaparral,
christmas tree farm, closed road, coastal mansion, crosswalk, dense residential, ferry terminal,
football field, forest, freeway, golf course, harbor, intersection, mobile home park, nursing home,
oil gas field, oil well, overpass, parking lot, parking space, railway, river, runway,
runway marking, shipping yard, solar panel, sparse residential, storage tank, swimming pool,
tennis court, transformer station, wastewater treatment plant"""

_RESISC45 = """airplane, airport, baseball diamond, basketball court, beach, bridge, chaparral,
church, circular farmland, cloud, commercial area, dense residential, desert, forest, freeway,
golf course, ground track field, harbor, industrial area, intersection, island, lake, meadow,
medium residential, mobile home park, mountain, overpass, palace, parking lot, railway,
railway station, rectangular farmland, river, roundabout, runway, sea ice, ship, snowberg,
sparse residential, stadium, storage tank, tennis court, terrace, thermal power station, wetland"""

_RSI_CB256 = """airplane, airport runway, artificial grassland, avenue, bare land, bridge,
city building, coastline, container, crossroads, dam, desert, dry farm, forest, green farmland,
highway, hirst, lakeshore, mangrove, marina, mountain, parking lot, pipeline, residents, river,
river protection forest, sand beach, sapling, sea, shrubwood, snow mountain, sparse forest,
storage room, stream, town"""

_SKYSCRIPT = """airport apron, airport hangar, airport runway, airport terminal, amusement park,
apartment, aquaculture land, archaeological site, barn, baseball field, basketball court, beach,
border checkpoint, bridge, cemetery, church, circular farmland, commercial land, construction land,
crosswalk, dam, detached house, educational institution, factory, fire station, forest, freeway,
gas station, glacier, golf course, greenhouse, ground transportation station, harbour, helipad,
hospital, island, lake, lighthouse, meadow, military facility, mine, mountain, office building,
oil well, orchard, parking space, playground, pond, prison, quarry, race track, railway,
railway station, residential land, resort, river, rock land, roundabout, solar power plant, square,
stadium, storage tank, substation, swimming pool, tennis court, tower, turning circle,
wastewater treatment plant, wetland, wind farm"""

_UCM = """agricultural, airplane, baseball diamond, beach, buildings, chaparral, dense residential,
forest, freeway, golf course, harbor, intersection, medium residential, mobile home park, overpass,
parking lot, river, runway, sparse residential, storage tanks, tennis court"""

CLASS_NAMES: dict[str, tuple[str, ...]] = {
    name: tuple(" ".join(entry.split()) for entry in names.split(","))
    for name, names in {
        "aid": _AID,
        "eurosat": _EUROSAT,
        "fmow": _FMOW,
        "million_aid": _MILLION_AID,
        "pattern_net": _PATTERN_NET,
        "resisc45": _RESISC45,
        "rsi_cb256": _RSI_CB256,
        "skyscript": _SKYSCRIPT,
        "ucm": _UCM,
    }.items()
}
# Folders whose letters are not those of their class's name.
_SPELLINGS = {"sealake": "sea or lake", "bapsketballcourt": "basketball court"}


def words(folder: str) -> str:
    """A folder's name as words: ``BareLand``, ``bare_land`` and ``Bare-Land`` to ``bare land``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_\-\s]+", " ", folder)
    return " ".join(spaced.lower().split())


def category_text(name: str) -> str:
    """A category of annotations as words: ``Storage-Tank`` to ``storage tank``."""
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


def named_classes(folders: Sequence[str], names: str | None = None) -> list[str]:
    """A name for the class of every folder, in their order.

    Args:
        folders: names of folders, as `cmid.data.ImageFolder.classes`.
        names: None: the folders' own, as `words`; a key of `CLASS_NAMES`: the names of that set,
            found whatever the spelling; else a text file: one name a line, in the order of the
            folders, or ``folder: name``.

    Raises:
        FileNotFoundError: neither a set nor a file.
        ValueError: folders without a name, another number of lines, lines of both kinds, or two
            classes of one name, which no text could tell apart.
    """
    if names is None:
        where, found = "the folders", {folder: words(folder) for folder in folders}
    elif names in CLASS_NAMES:
        known = {_letters(name): name for name in CLASS_NAMES[names]}
        where, found = f"the set {names}", _found(folders, known, f"the set {names}")
    else:
        where, found = names, _from_file(folders, names)
    for folder, name in found.items():
        twin = next(other for other, its in found.items() if its == name)
        if twin != folder:
            raise ValueError(f"{where}: the classes {twin} and {folder} are both named {name!r}")
    return [*found.values()]


def _from_file(folders: Sequence[str], path: str) -> dict[str, str]:
    lines = _lines(path)
    pairs = [line.split(":", 1) for line in lines if ":" in line]
    if not pairs:
        if len(lines) != len(folders):
            raise ValueError(f"{path} has {len(lines)} names for {len(folders)} classes")
        return dict(zip(folders, lines, strict=True))
    if len(pairs) < len(lines):
        plain = next(line for line in lines if ":" not in line)
        raise ValueError(f"{path} has lines of 'folder: name', and {plain!r}: give all one form")
    known: dict[str, str] = {}
    for folder, name in pairs:
        if not name.strip():
            raise ValueError(f"{path} has no name behind {folder.strip()!r}:")
        if known.setdefault(_letters(folder), name.strip()) != name.strip():
            raise ValueError(f"{path} names {folder.strip()!r} twice")
    return _found(folders, known, path)


def _found(folders: Sequence[str], known: Mapping[str, str], where: str) -> dict[str, str]:
    found = {folder: _find(folder, known) for folder in folders}
    missing = [folder for folder, name in found.items() if name is None]
    if missing:
        raise ValueError(f"{where} has no name for {len(missing)} folders, first {missing[0]}")
    return {folder: name for folder, name in found.items() if name is not None}


def _find(folder: str, known: Mapping[str, str]) -> str | None:
    letters = _letters(folder)
    return known.get(letters) or known.get(_letters(_SPELLINGS.get(letters, "")))


def _letters(name: str) -> str:
    """Letters and digits of any script, in one case and one form (file systems have several)."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


def _lines(path: str) -> list[str]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is neither a set ({', '.join(CLASS_NAMES)}) nor a file")
    return stripped_lines(path)
