"""The stem of an English word, so that its forms are found by one another: Porter's algorithm of 1980.

Before it, forms that no rule leads back are looked up: of irregular verbs and plurals, and of small numbers. What is
indexed holds stems, so a change here needs a migration that builds the indexes anew.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

_FORMS: Final = """
be am is are was were been being; have has had; do did done does; go went gone goes; buy bought; bring brought;
catch caught; fight fought; seek sought; teach taught; think thought; become became; begin began begun; bend bent;
bet bet; bite bit bitten; bleed bled; blow blew blown; break broke broken; breed bred; build built; burn burnt;
choose chose chosen; cling clung; come came; creep crept; deal dealt; dig dug; draw drew drawn; dream dreamt;
drink drank drunk; drive drove driven; eat ate eaten; fall fell fallen; feed fed; feel felt; find found; flee fled;
fly flew flown; forbid forbade forbidden; forget forgot forgotten; forgive forgave forgiven; freeze froze frozen;
get got gotten; give gave given; grow grew grown; hang hung; hear heard; hide hid hidden; hold held; keep kept;
kneel knelt; know knew known; lead led; lean leant; learn learnt; leave left; lend lent; light lit; lose lost;
make made; mean meant; meet met; mistake mistook mistaken; overcome overcame; pay paid; prove proven; ride rode ridden;
ring rang rung; rise rose risen; run ran; say said; see saw seen; sell sold; send sent; sew sewn; shake shook shaken;
shine shone; shoot shot; show shown; shrink shrank shrunk; sing sang sung; sink sank sunk; sit sat; sleep slept;
slide slid; speak spoke spoken; speed sped; spend spent; spin spun; spring sprang sprung; stand stood;
steal stole stolen; stick stuck; sting stung; strike struck; swear swore sworn; sweep swept; swim swam swum;
swing swung; take took taken; tear tore torn; tell told; throw threw thrown; understand understood; wake woke woken;
wear wore worn; weave wove woven; weep wept; win won; withdraw withdrew withdrawn; write wrote written;
child children; man men; woman women; person people; foot feet; tooth teeth; goose geese; mouse mice; life lives;
wife wives; knife knives; leaf leaves; half halves; shelf shelves; wolf wolves; loaf loaves; thief thieves;
calf calves; scarf scarves; potato potatoes; tomato tomatoes; hero heroes;
2 two; 3 three; 4 four; 5 five; 6 six; 7 seven; 8 eight; 9 nine; 10 ten; 11 eleven; 12 twelve;
mother mom mum mommy mummy; father dad daddy; grandmother grandma granny; grandfather grandpa; television tv;
photograph photo photos; bicycle bike bikes; refrigerator fridge; telephone phone; favorite favourite favourites;
color colour colours;
"""
_BASES: Final[Mapping[str, str]] = {
    form: base for line in _FORMS.replace("\n", " ").split(";") if line.strip() for base, *forms in [line.split()]
    for form in forms
}  # fmt: skip

_CONSONANT: Final = "[^aeiou]"
_VOWEL: Final = "[aeiouy]"
_C: Final = f"{_CONSONANT}[^aeiouy]*"
_V: Final = f"{_VOWEL}[aeiou]*"
_SOME: Final = re.compile(f"^({_C})?{_V}{_C}")
_ONE: Final = re.compile(f"^({_C})?{_V}{_C}({_V})?$")
_SEVERAL: Final = re.compile(f"^({_C})?{_V}{_C}{_V}{_C}")
_HAS_VOWEL: Final = re.compile(f"^({_C})?{_VOWEL}")
_DOUBLE: Final = re.compile(r"([^aeiouylsz])\1$")
_SHORT: Final = re.compile(f"^{_C}{_VOWEL}[^aeiouwxy]$")

_SECOND: Final[Mapping[str, str]] = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble", "alli": "al",
    "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al",
    "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble", "logi": "log",
}  # fmt: skip
_THIRD: Final[Mapping[str, str]] = {
    "icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": "",
}  # fmt: skip
_FOURTH: Final = re.compile(
    "(al|ance|ence|er|ic|able|ible|ant|ement|ment|ent|(?<=[st])ion|ou|ism|ate|iti|ous|ive|ize)$"
)
_SECOND_ENDS: Final = re.compile(f"({'|'.join(sorted(_SECOND, key=len, reverse=True))})$")
_THIRD_ENDS: Final = re.compile(f"({'|'.join(sorted(_THIRD, key=len, reverse=True))})$")


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """The stem of a word in small letters; of one that is not plain English, the word itself."""
    word = _BASES.get(word, word)
    if len(word) < 3 or not (word.isascii() and word.isalpha()):
        return word
    if word[0] == "y":  # a consonant there, which the patterns above would not take for one
        word = "Y" + word[1:]
    word = _without_e(_without_suffixes(_first(word)))
    return word.lower()


def _first(word: str) -> str:
    """Without the endings of plurals and of verbs; a final y as i."""
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        word = word[:-1] if _SOME.match(word[:-3]) else word
    else:
        for ending in ("ed", "ing"):
            if word.endswith(ending):
                word = _mended(word[: -len(ending)]) if _HAS_VOWEL.match(word[: -len(ending)]) else word
                break
    if word.endswith("y") and _HAS_VOWEL.match(word[:-1]):
        word = word[:-1] + "i"
    return word


def _mended(word: str) -> str:
    """What is left of a verb, with the e it lost put back, or the consonant that was doubled taken away."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if _DOUBLE.search(word):
        return word[:-1]
    return word + "e" if _ONE.match(word) and _SHORT.match(word) else word


def _without_suffixes(word: str) -> str:
    for ends, instead in ((_SECOND_ENDS, _SECOND), (_THIRD_ENDS, _THIRD)):
        found = ends.search(word)
        if found and _SOME.match(word[: found.start()]):
            word = word[: found.start()] + instead[found[0]]
    found = _FOURTH.search(word)
    return word[: found.start()] if found and _SEVERAL.match(word[: found.start()]) else word


def _without_e(word: str) -> str:
    if word.endswith("e"):
        rest = word[:-1]
        if _SEVERAL.match(rest) or (_ONE.match(rest) and not _SHORT.match(rest)):
            word = rest
    return word[:-1] if word.endswith("ll") and _SEVERAL.match(word[:-1]) else word
