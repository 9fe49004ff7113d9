"""The stem of an English word, so that its forms are found by one another: Porter's algorithm of 1980.

Before it, forms that no rule leads back are looked up: of irregular verbs and plurals, and of small numbers. What is
indexed holds stems, so a change here needs a migration that builds the indexes anew.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

_FORMS: Final = """
arise arose arisen; awake awoke awoken; be am is are was were been being; beat beaten; become became;
begin began begun; bend bent; bet bet; bite bit bitten; bleed bled; blow blew blown; break broke broken; breed bred;
bring brought; build built; burn burnt; buy bought; catch caught; choose chose chosen; cling clung; come came;
creep crept; deal dealt; die died dies dying; dig dug; do did done does; draw drew drawn; dream dreamt;
drink drank drunk; drive drove driven; eat ate eaten; fall fell fallen; feed fed; feel felt; fight fought;
find found; flee fled; fly flew flown; forbid forbade forbidden; forget forgot forgotten; forgive forgave forgiven;
freeze froze frozen; get got gotten; give gave given; go went gone goes; grow grew grown; hang hung; have has had;
hear heard; hide hid hidden; hold held; keep kept; kneel knelt; know knew known; lay laid; lead led; lean leant;
leap leapt; learn learnt; leave left; lend lent; lie lies lied lying; light lit; lose lost; make made; mean meant;
meet met; mistake mistook mistaken; overcome overcame; oversleep overslept; pay paid; prove proven; rebuild rebuilt;
rewrite rewrote rewritten; ride rode ridden; ring rang rung; rise rose risen; run ran; say said; see saw seen;
seek sought; sell sold; send sent; sew sewn; shake shook shaken; shine shone; shoot shot; show shown;
shrink shrank shrunk; sing sang sung; sink sank sunk; sit sat; sleep slept; slide slid; smell smelt;
speak spoke spoken; speed sped; spell spelt; spend spent; spill spilt; spin spun; spit spat; spoil spoilt;
spring sprang sprung; stand stood; steal stole stolen; stick stuck; sting stung; stink stank stunk; strike struck;
swear swore sworn; sweep swept; swell swollen; swim swam swum; swing swung; take took taken; teach taught;
tear tore torn; tell told; think thought; throw threw thrown; tie ties tied tying; tread trod trodden;
understand understood; undertake undertook undertaken; undo undid undone; wake woke woken; wear wore worn;
weave wove woven; weep wept; win won; withdraw withdrew withdrawn; wring wrung; write wrote written;
child children; man men; woman women; person people; foot feet; tooth teeth; goose geese; mouse mice; wife wives;
knife knives; half halves; shelf shelves; wolf wolves; loaf loaves; thief thieves; calf calves; scarf scarves;
elf elves; hoof hooves; bus buses; gas gases; quiz quizzes; pie pies; ox oxen; potato potatoes; tomato tomatoes;
hero heroes;
2 two; 3 three third; 4 four fourth; 5 five fifth; 6 six sixth; 7 seven seventh; 8 eight eighth; 9 nine ninth;
10 ten tenth; 11 eleven eleventh; 12 twelve twelfth; 13 thirteen thirteenth; 14 fourteen fourteenth;
15 fifteen fifteenth; 16 sixteen sixteenth; 17 seventeen seventeenth; 18 eighteen eighteenth; 19 nineteen nineteenth;
20 twenty twentieth; 30 thirty thirtieth; 40 forty; 50 fifty; 60 sixty; 70 seventy; 80 eighty; 90 ninety;
january jan; february feb; april apr; august aug; september sep sept; october oct; november nov; december dec;
mother mom mum mommy mummy; father dad daddy; grandmother grandma granny; grandfather grandpa; television tv;
photograph photo photos; bicycle bike bikes; refrigerator fridge; telephone phone; center centre centres;
theater theatre theatres; gray grey; jewelry jewellery; program programme programmes; pajama pajamas pyjama pyjamas;
mustache moustache; cozy cosy; plow plough; donut doughnut doughnuts; yogurt yoghurt; license licence;
defense defence; offense offence; practice practise practised practising practiced practicing; catalog catalogue;
dialog dialogue; skeptical sceptical; aluminum aluminium; airplane aeroplane; mold mould; artifact artefact;
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
    "fulli": "ful", "lessli": "less",
}  # fmt: skip
_THIRD: Final[Mapping[str, str]] = {
    "icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": "",
}  # fmt: skip
_FOURTH: Final = re.compile(
    "(al|ance|ence|er|ic|able|ible|ant|ement|ment|ent|(?<=[st])ion|ou|ism|ate|iti|ous|ive|ize)$"
)
_SECOND_ENDS: Final = re.compile(f"({'|'.join(sorted(_SECOND, key=len, reverse=True))})$")
_THIRD_ENDS: Final = re.compile(f"({'|'.join(sorted(_THIRD, key=len, reverse=True))})$")
_BRITISH: Final = (
    (
        re.compile(
            "^(arm|behavi|col|endeav|fav|flav|harb|hon|hum|lab|neighb|od|parl|rum|sav|savi|splend|tum|vap|vig)our"
        ),
        r"\1or",
    ),
    (re.compile("(?<=..[^vw])(?<!prec)(?<!conc)(?<!exerc)(?<!advert)([iy])s(?=(?:e[ds]?|ing|ations?|ers?)$)"), r"\1z"),
)
"""Spellings that are taken for the American ones: `neighbours`, `organising`, `analysed`."""


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """The stem of a word in small letters; of one that is not plain English, the word itself."""
    word = _BASES.get(word, word)
    if len(word) < 3 or not (word.isascii() and word.isalpha()):
        return word
    for spelling, instead in _BRITISH:
        word = spelling.sub(instead, word)
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
