"""What the five domains of the stew say: a grammar each, with the words of the domain, and a wide vocabulary for `read`.

A grammar maps a name to alternatives; `<name>` inside one is replaced by an alternative of that name, a comma is a pause that is
spoken and not written. `read` fills its slots from the CMU dictionary, because a narrow vocabulary teaches words instead of phones.
"""

import functools
from collections.abc import Iterator

import numpy as np

from antiphon.seed import derive_seed
from antiphon.text.espeak import edit_distance, espeak
from antiphon.text.phonemes import cmudict_entries

Grammar = dict[str, tuple[str, ...]]

DOMAINS = ("read", "meeting", "phone", "talk", "clips")
# Chance of a word of a wide slot falls as 1 / rank ** ZIPF: some words come often, most are rare, as in print.
ZIPF = 0.8
_MAX_TRIES = 1000

_SHARED: dict[str, str] = {
    "we": "i|you|we|they",
    "one": "he|she|somebody|nobody|everyone",
    "modal": "can|could|should|will|would|might|must",
    "the": "the|the|the|this|that|our|your|another",
    "when": "today|tomorrow|yesterday|this morning|tonight|on <day>|next week|last year|in <month>|before noon|at <hour> o'clock",
    "day": "monday|tuesday|wednesday|thursday|friday|saturday|sunday",
    "month": "january|february|april|june|july|august|october|december",
    "hour": "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve",
    "few": "two|three|four|five|seven|ten|twenty|thirty|a hundred|several|many|most|some|all",
    "er": "uh|um|er|",
}

_MEETING: dict[str, str] = {
    "S": "<start> <we> <modal> <do> <the> <thing> <tail>|<start> <the> <thing> <is> <state> <tail>|<ask> <do> <the> <thing> <tail>"
    "|<start> <we> <modal> <do> <the> <thing> and <do> <the> <thing>|<who> <modal> <do> <the> <thing> with <who> <when>"
    "|<start> <who> said <the> <thing> <is> <state>|<the> <quality> <thing> costs <few> <money> more"
    "|<start> <we> need <few> more <things> for <the> <thing>|<who> <modal> talk to <who> about <the> <quality> <thing>"
    "|let's <do> <the> <quality> <thing> <tail>|<start> <the> <things> and <the> <things> <are> <state>",
    "start": "okay ,|so , <er>|right ,|well , <er>|yeah ,|<er>|<er>|and <er>|but <er>|i think|i guess|maybe|actually ,|you know ,",
    "ask": "can somebody|could you|did anybody|do we want to|who can|shall we|are we ready to|does <who> want to|why don't we",
    "do": "discuss|review|finish|change|move|approve|cancel|present|check|update|replace|compare|test|order|print|share|draft"
    "|postpone|explain|measure|design|simplify|remove|document|schedule|estimate|reject|summarize|improve|announce",
    "thing": "agenda|budget|schedule|prototype|battery|button|display|remote control|case|contract|deadline|interface|logo|market|manual"
    "|menu|microphone|minutes|office|plan|presentation|price|problem|product|project|proposal|report|sample|screen|slide|speaker"
    "|supplier|survey|table|target|task|team|user guide|whiteboard|scroll wheel|rubber cover|annual review|sales figure|board",
    "things": "buttons|batteries|customers|designers|engineers|features|figures|meetings|members|options|questions|samples|slides|users"
    "|colours|deadlines|invoices|chairs|copies|folders|managers|suppliers|targets|tasks|weeks",
    "quality": "new|old|first|second|third|final|cheap|expensive|yellow|curved|small|plastic|wooden|simple|main|whole|monthly|technical",
    "is": "is|was|seems|looks|will be|is still|was never|is almost",
    "are": "are|were|seem|look|will be|are still|were never",
    "state": "ready|late|too big|too expensive|fine|important|missing|on track|over budget|not clear|quite good|unusable|done"
    "|too heavy|acceptable|risky|pretty useful|hard to sell|easy to use|out of date|under review",
    "tail": "<when>|first|again|together|then|for now|if possible|as planned|after lunch|with <who>|without <who>|by <day>|||",
    "who": "marketing|the industrial designer|the project manager|alice|the chairman|finance|the client|the user expert|harold|legal"
    "|the accountant|human resources|the intern|support|agnes",
    "money": "euros|dollars|pounds|percent|hours|cents",
}

_PHONE: dict[str, str] = {
    "S": "<oh> <we> <felt> <the> <kin> <tail>|<oh> my <kin> <went> <place> <when>|do you <like> <hobby> <tail>"
    "|<oh> <we> used to <like> <hobby> with my <kin>|i'm calling about <the> <goods> i <bought> <when>"
    "|<oh> my <kin> and my <kin> both <like> <hobby>|the <goods> is <bad> , <oh> <please>|<oh> that's <how> <good> , isn't it"
    "|<oh> we got <few> <pets> and <few> <pets> <place>|<please> , my <goods> is <bad> again|how is your <kin> doing <place>"
    "|<oh> the weather was <how> <weather> <when>|<oh> i don't <like> <hobby> , it's <how> <good>"
    "|my <kin> <bought> a <colour> <goods> <when>|what kind of <goods> does your <kin> have"
    "|<oh> the <pets> <went> <place> <when>|<oh> it was <how> <weather> <place> , <er> <when>|i paid <few> dollars for my <goods>",
    "oh": "oh|<er>|<er>|yeah|uh huh|well|um|hm|no|gosh|really , |you know|i mean|right|anyway|hello|listen",
    "felt": "love|miss|called|visited|remember|hated|met|helped|thanked|forgave|raised|surprised|married",
    "kin": "mother|father|sister|brother|daughter|son|uncle|aunt|cousin|husband|wife|neighbour|grandmother|nephew|niece|boss|roommate"
    "|dentist|teacher|landlord|doctor|best friend|family|grandpa|baby|girlfriend",
    "went": "went|drove|moved|stayed|came back|got lost|flew|ran|walked|worked|lived|got sick|slept|retired",
    "place": "home|to texas|in dallas|to the beach|at school|in the country|to the hospital|down south|in the garden|upstairs"
    "|in california|to the mall|in the kitchen|at church|by the lake|to florida|downtown|at the airport|in the yard|over there",
    "like": "like|enjoy|want|prefer|try|mind|keep|start|love",
    "hobby": "fishing|cooking|baseball|football|swimming|camping|gardening|sewing|dancing|movies|country music|basketball|golf|reading"
    "|bowling|painting|skiing|karaoke|crosswords|knitting|jogging|barbecue|television|old records",
    "goods": "phone|truck|computer|washing machine|credit card|insurance|lawn mower|fridge|heater|bicycle|guitar|radio|dishwasher|ticket"
    "|bank account|apartment|sofa|stove|carpet|garage door|package|modem|toaster|mattress|prescription|subscription",
    "bought": "bought|sold|returned|ordered|fixed|lost|broke|found|rented|borrowed|got rid of",
    "bad": "broken|gone|too noisy|blocked|leaking|stuck|dead|overdue|not working|on fire|making a funny noise|locked|frozen",
    "please": "please help me|call me back|hold on a second|send someone <when>|can you fix it|thank you so much|give me a number"
    "|put me through|take a message|speak up a little",
    "how": "so|really|pretty|very|kind of|awfully|just|way too|sort of|not that",
    "good": "nice|sad|funny|cheap|crazy|exciting|scary|boring|wonderful|weird|terrible|lucky|great|different|tough|relaxing",
    "weather": "cold|hot|windy|humid|rainy|sunny|cloudy|icy|muggy|chilly|foggy|dry",
    "pets": "cats|dogs|kids|chickens|horses|puppies|goldfish|rabbits|grandkids|parrots|turtles|goats|bees",
    "colour": "red|blue|green|black|white|purple|brown|silver|used|brand new|huge|fancy",
    "tail": "<when>|too|though|a lot|these days|sometimes|all the time|every <day>|at <hour> o'clock|over there||",
}

_TALK: dict[str, str] = {
    "S": "<so> <the> <idea> <means> that <the> <idea> <can> <grow>|<so> what <the> <people> found is <a> <idea>"
    "|<so> imagine <a> <idea> that <can> <grow> <scale>|<few> years ago , <the> <people> <made> <a> <idea>"
    "|<so> <the> <people> <made> <the> <quality> <idea> <scale>|how do we <make> <the> <quality> <idea>"
    "|<so> this <picture> shows <a> <quality> <idea>|<so> the <quality> <idea> <can> <grow> <scale>"
    "|when <people> <grow> , <the> <idea> <can> <grow>|<so> it turns out <the> <idea> <means> <nothing>"
    "|i want to <make> <the> <idea> of <the> <idea>|<people> and <people> <can> <make> <the> <idea> together"
    "|there are <few> <people> who <can> <make> <the> <idea>|<so> <few> percent of <people> <can> <grow> <scale>",
    "so": "so|and|but|now ,|um ,|in fact ,|of course ,|however ,|you see ,|and then|for example ,|and uh|in other words ,|here ,|",
    "a": "a|one|the|this|that|such a|my|their",
    "can": "can|could|will|may|cannot|did not|does not|used to|began to|wants to|tries to|should",
    "idea": "theory|brain|planet|language|virus|robot|network|protein|galaxy|molecule|machine|culture|memory|disease|forest|ocean|equation"
    "|particle|neuron|city|universe|experiment|climate|computer|signal|model|story|revolution|species|telescope|gene|method|mirror"
    "|hypothesis|democracy|technology|phenomenon|future|question|principle|cell|structure|medicine|pattern|algorithm",
    "people": "scientists|children|students|patients|physicists|artists|engineers|humans|doctors|animals|researchers|leaders|teachers|women"
    "|chimpanzees|insects|plants|philosophers|bacteria|citizens|inventors|musicians|elephants|pioneers|strangers",
    "means": "means|suggests|proves|predicts|shows|implies|reveals|promises|assumes",
    "grow": "grow|change|learn|survive|evolve|collapse|expand|disappear|fail|communicate|explode|dream|adapt|travel|dissolve|succeed|think"
    "|sleep|multiply|spread|vanish|cooperate|heal|matter",
    "make": "make|build|understand|measure|explain|transform|discover|imagine|invent|protect|describe|control|observe|solve|question|map"
    "|reinvent|simulate|design",
    "made": "made|built|discovered|invented|published|described|measured|ignored|doubted|explored|explained|simulated|challenged|solved",
    "scale": "slowly|quickly|all over the world|inside the body|under pressure|without light|in outer space|for a thousand years"
    "|over millions of years|in the laboratory|in the dark|at the speed of light|beneath the surface|by accident|forever|in africa",
    "quality": "small|giant|ancient|strange|beautiful|invisible|quantum|digital|human|artificial|genetic|simple|powerful|hidden|electric"
    "|modern|perfect|global|dangerous|complex|curious|mathematical|fragile|magnetic",
    "picture": "picture|graph|chart|slide|video|photograph|diagram|experiment|map",
    "nothing": "nothing|everything|hope|more energy|less time|a lot|trouble|freedom|something else|very little|fewer choices",
}

_CLIPS: dict[str, str] = {
    "S": "<name> was born in <town> in <month>|the <river> <flows> <where> <town>|<name> <played> the <role> for <few> seasons"
    "|the <site> of <town> was <built> by <name>|<name> <played> in <town> and in <town>|<order> the <object> <where> the <site>"
    "|the <animal> is <kind> <where> <town>|<order> <few> <units> of <food>|the <site> <lies> <where> the <river>"
    "|the <object> was <built> in <month> by the <role>|<name> and <name> <played> the <object>|the <role> <lies> <where> the <site>"
    "|<few> <units> of <food> were <built> in <town>|<name> became the <role> of <town>|the <animal> and the <animal> live <where> <town>"
    "|<order> me a <object> and a <object> please|the <role> of <town> <played> the <animal>",
    "name": "victoria|napoleon|jackson|charlotte|alexander|maria|robinson|elizabeth|frederick|thompson|isabella|edison|columbus|newton"
    "|florence|gregory|theodore|hamilton|josephine|leonard|margaret|oliver|patricia|samuel|the king|the queen",
    "town": "london|paris|boston|berlin|chicago|egypt|sweden|canada|mexico|madrid|toronto|vienna|scotland|poland|norway|brazil|kenya"
    "|dublin|moscow|athens|portugal|manchester|oregon|india|japan|belgium|geneva|hungary",
    "river": "river|canal|railway|highway|border|stream|tunnel|trail|bridge|coast|valley|ridge|pipeline",
    "flows": "runs|flows|passes|ends|turns|rises|begins|stops|continues|bends",
    "where": "near|behind|north of|south of|west of|east of|through|towards|around|outside|below|above|along|across|beyond",
    "played": "painted|wrote|recorded|coached|directed|studied|defeated|photographed|composed|edited|sang about|collected|founded|owned",
    "role": "captain|mayor|governor|goalkeeper|bishop|senator|violinist|admiral|actress|architect|composer|president|professor|knight"
    "|striker|novelist|pilot|judge|drummer|farmer|chancellor|sculptor",
    "site": "castle|church|museum|village|stadium|harbour|university|temple|parish|palace|cemetery|library|monument|mill|abbey|lighthouse"
    "|theatre|market square|railway station|district|fortress|island",
    "built": "built|destroyed|opened|named|rebuilt|sold|restored|designed|captured|burned|listed|finished|donated|expanded",
    "order": "bring|find|buy|play|take|show|carry|leave|open|collect|paint|turn off|put away|pick up",
    "object": "album|novel|guitar|statue|song|opera|ship|film|painting|tower|bicycle|lantern|magazine|clock|poem|wagon|piano|tractor|hammer"
    "|ladder|umbrella|blanket|bottle|suitcase|wheelbarrow|trumpet",
    "lies": "lies|stands|was found|stayed|waits|vanished|appears|remained|settled",
    "animal": "beetle|moth|sparrow|salmon|orchid|lizard|falcon|otter|squirrel|snail|spider|leopard|frog|pigeon|fern|tulip|oak|hedgehog|dolphin",
    "kind": "common|rare|found|native|protected|extinct|hunted|endangered|widespread|seen",
    "units": "kilos|boxes|tons|bags|barrels|cups|litres|baskets|crates|jars",
    "food": "wheat|sugar|butter|cheese|coal|cotton|olives|rice|apples|tobacco|honey|copper|pepper|timber|flour|wool|onions|salt",
}

_READ: dict[str, str] = {
    "S": "the <n> <v_ed> the <n> <adv>|<we> <v_ed> the <adj> <n>|<one> <modal> <v> the <n> of the <n>|the <adj> <n> <was> <adv> <v_ed>"
    "|<one> <v_ed> the <ns> and <v_ed> the <ns>|<ns> and <ns> <were> <v_ing> in the <n>|<we> <modal> <adv> <v> <the> <adj> <n>"
    "|<few> <adj> <ns> <v_ed> the <n>|<v_ing> the <n> <was> <adj>|when the <n> <v_ed> , <one> <v_ed> the <n>"
    "|the <n> <was> <adj> and the <n> <was> <adj>|<one> said that the <n> <was> <adj>|there <were> <ns> in <the> <n> , but no <ns>"
    "|<the> <n> <modal> <v> without <v_ing>|with <adj> <ns> <one> <v_ed> <when>|<we> <v_ed> from the <n> to the <adj> <n>"
    "|neither the <n> nor the <n> <was> <adj>|<adv> , the <n> of <ns> <v_ed>|<one> <v_ed> <when> , <v_ing> <the> <n>",
    "was": "was|had been|is|became|remained|seemed",
    "were": "were|had been|are|would be",
}  # fmt: skip

_OWN: dict[str, dict[str, str]] = {"read": _READ, "meeting": _MEETING, "phone": _PHONE, "talk": _TALK, "clips": _CLIPS}


def sentences(domain: str, stream: str, seed: int, taken: set[str]) -> Iterator[str]:
    """Endless new sentences of a domain, as they are prompted: commas are pauses. Adds each one's plain text to `taken`."""
    rng = np.random.default_rng(derive_seed(seed, "stew", "text", domain, stream))
    grammar = _grammar(domain)
    wide = wide_vocabulary() if domain == "read" else {}
    while True:
        for _ in range(_MAX_TRIES):
            prompt = _tidy(_expand("S", grammar, wide, rng))
            if (text := plain(prompt)) not in taken:
                taken.add(text)
                yield prompt
                break
        else:
            raise ValueError(
                f"the grammar of {domain} must give new sentences, but {_MAX_TRIES} in a row were known; ask for fewer"
            )


def plain(prompt: str) -> str:
    """The transcript of a prompt: words and single spaces."""
    return " ".join(prompt.replace(",", " ").split())


@functools.cache
def wide_vocabulary() -> dict[str, tuple[str, ...]]:
    """Slots of `read` -> their words, in the order of their frequency in our text: about 3,000 types from the CMU dictionary.

    A word is taken when it has 3 to 10 letters, both dictionaries agree on it to one phone, and its inflected forms are there too
    (walk: walks, walked, walking), which keeps surnames out. The order is that of a fixed hash: nobody's corpus is counted.
    """
    entries = cmudict_entries()

    def known(word: str) -> bool:
        return word in entries

    fit = [word for word in entries if word.isascii() and word.isalpha() and 3 <= len(word) <= 10]
    endings = ("ed", "ing", "s", "ly")
    verbs = {w: None for w in fit if all(map(known, _forms(w))) and not w.endswith(endings)}
    adverbs = [w for w in fit if w.endswith("ly") and known(w[:-2]) and len(w) > 5 and w[:-2] not in verbs]
    adjectives = [w[:-2] for w in adverbs] + [
        w for w in fit if w.endswith(("ful", "ous", "able", "less", "ive")) and len(w) > 5
    ]
    nouns = [w for w in fit if w.endswith(("tion", "ment", "ness", "ship", "ity", "ance", "age", "ure")) and len(w) > 5]
    nouns += [w for w in fit if w.endswith("er") and known(w[:-2] + "ing") and known(w + "s")]
    verb_list = _choose(verbs, 460)
    noun_list = _choose([*nouns, *(w for w in verbs if len(w) < 7)], 800)
    return {
        "v": verb_list,
        "v_ed": tuple(_forms(w)[1] for w in verb_list),
        "v_ing": tuple(_forms(w)[2] for w in verb_list),
        "n": noun_list,
        "ns": tuple(w + "s" for w in noun_list if known(w + "s")),
        "adj": _choose(adjectives, 420),
        "adv": _choose(adverbs, 260),
    }


def _forms(verb: str) -> tuple[str, str, str]:
    """walk -> walks, walked, walking; bake -> bakes, baked, baking. Others make words that no dictionary has."""
    stem = verb.removesuffix("e")
    return verb + "s", stem + "ed", stem + "ing"


def _choose(words: list[str], count: int) -> tuple[str, ...]:
    """The first `count` words by a fixed hash that are spoken as the CMU dictionary says."""
    entries = cmudict_entries()
    chosen: list[str] = []
    for word in sorted(set(words), key=lambda word: (derive_seed(0, "stew", "word", word), word)):
        spoken = espeak().phones(word)
        if min(edit_distance(spoken, phones) for phones in entries[word]) <= 1:
            chosen.append(word)
            if len(chosen) == count:
                break
    return tuple(chosen)


@functools.cache
def _grammar(domain: str) -> Grammar:
    return {name: tuple(text.split("|")) for name, text in {**_SHARED, **_OWN[domain]}.items()}


@functools.cache
def _zipf(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    weights = 1.0 / np.arange(1, count + 1) ** ZIPF
    return np.asarray(np.cumsum(weights / weights.sum()))


def _expand(name: str, grammar: Grammar, wide: dict[str, tuple[str, ...]], rng: np.random.Generator) -> str:
    if name in wide:
        words = wide[name]
        return words[min(int(np.searchsorted(_zipf(len(words)), rng.random())), len(words) - 1)]
    choices = grammar[name]
    chosen = choices[int(rng.integers(len(choices)))]
    parts = chosen.replace("<", ">").split(">")  # odd parts are names
    return "".join(_expand(part, grammar, wide, rng) if row % 2 else part for row, part in enumerate(parts))


def _tidy(prompt: str) -> str:
    """Single spaces, each comma after its word, none at the ends, no word said twice."""
    words: list[str] = []
    for word in prompt.split():
        if word == ",":
            if words and not words[-1].endswith(","):
                words[-1] += ","
        elif not words or words[-1].rstrip(",") != word:
            words.append(word)
    return " ".join(words).rstrip(",")
