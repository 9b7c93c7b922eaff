"""What the five domains of the stew say: a grammar each, with the words of the domain.

A line `name: this | that` lists alternatives, another line of that name adds to them, and `<name>` stands for one.
A comma is a pause that is spoken and not written. What `read` does not list here (`<n>`, `<v_ed>`) comes from the wide
vocabulary of stew_words.py.
"""

import functools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from antiphon.data.corpora.stew_words import wide_vocabulary
from antiphon.seed import derive_seed

Grammar = dict[str, tuple[str, ...]]

DOMAINS = ("read", "meeting", "phone", "talk", "clips")
# The chance of a word of a wide slot falls as 1 / rank ** ZIPF: some words come often, most are rare, as in print.
ZIPF = 1.0
_WIDE = 100  # slots with more words than this are wide
_MAX_TRIES = 1000

_SHARED = """
the: the | the | the | this | that | our | your | every
those: the | the | those | our | your | my | all the | most
num: two | three | four | five | six | seven | eight | nine | ten | twelve | twenty | thirty | forty | a hundred
few: <num> | <num> | several | many | some
we: i | you | we | they
one: he | she | somebody | nobody | everyone
modal: can | could | should | will | would | might | must
when: today | tomorrow | yesterday | this morning | tonight | on <day> | next week | last year | in <month> | before
  noon | at <hour> o'clock
day: monday | tuesday | wednesday | thursday | friday | saturday | sunday
month: january | february | april | june | july | august | october | december
hour: one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve
er: uh | um | er |
"""

_READ = """
S: the <n> <v_ed> the <n> <adv> | <we> <v_ed> the <adj> <n> | the <adj> <n> <was> <adv> <v_ed>
S: <one> <modal> <v> the <n> of the <n> | <one> <v_ed> the <ns> and <v_ed> the <ns> | <few> <adj> <ns> <v_ed> the <n>
S: <ns> and <ns> <were> <v_ing> in the <n> | <we> <modal> <adv> <v> <the> <adj> <n> | <v_ing> the <n> <was> <adj>
S: when the <n> <v_ed> , <one> <v_ed> the <n> | the <n> <was> <adj> and the <n> <was> <adj> | <one> said the <n> <was>
  <adj>
S: there <were> <ns> in <the> <n> , but no <ns> | <the> <n> <modal> <v> without <v_ing> | <adv> , the <n> of <ns>
  <v_ed>
S: with <adj> <ns> <one> <v_ed> <when> | <we> <v_ed> from the <n> to the <adj> <n> | neither <n> nor <n> <was> <adj>
S: <one> <v_ed> <when> , <v_ing> <the> <n> | <those> <ns> <v_ed> <adv> | <we> <v_ed> every <n> but <v_ed> no <ns>
was: was | had been | is | became | remained | seemed
were: were | had been | are | would be
"""

_MEETING = """
S: <start> <we> <modal> <do> <the> <thing> <tail> | <start> <the> <thing> <is> <state> <tail>
S: <ask> <do> <the> <thing> <tail> | <start> <we> <modal> <do> <the> <thing> and <do> <the> <thing>
S: <who> <modal> <do> <the> <thing> with <who> <when> | <start> <who> said <the> <thing> <is> <state>
S: <the> <quality> <thing> costs <num> <money> more | <start> <we> need <few> more <things> for <the> <thing>
S: <who> <modal> talk to <who> about <the> <quality> <thing> | let's <do> <the> <quality> <thing> <tail>
S: <start> <those> <things> and <those> <things> <are> <state> | <start> <who> , <er> <who> and i <modal> <do> <the>
  <thing>
S: <are_they> <those> <things> <state> <when> | <start> <we> could <do> either <the> <thing> or <the> <thing>
start: okay , | so , <er> | right , | well , <er> | yeah , | <er> | <er> | and <er> | but <er> | i think | i guess |
  maybe | actually , | you know ,
ask: can somebody | could you | did anybody | do we want to | who can | shall we | are we ready to | does <who> want
  to | why don't we
do: discuss | review | finish | change | move | approve | cancel | present | check | update | replace | compare | test
  | order | print | share | draft | postpone | explain | measure | design | simplify | remove | document | schedule |
  estimate | reject | summarize | improve | announce
thing: agenda | budget | schedule | prototype | battery | button | display | remote control | case | contract |
  deadline | interface | logo | market | manual | menu | microphone | minutes | office | plan | presentation | price |
  problem | product | project | proposal | report | sample | screen | slide | speaker | supplier | survey | table |
  target | task | team | user guide | whiteboard | scroll wheel | rubber cover | annual review | sales figure | board
things: buttons | batteries | customers | designers | engineers | features | figures | meetings | members | options |
  questions | samples | slides | users | colours | deadlines | invoices | chairs | copies | folders | managers |
  suppliers | targets | tasks | weeks
quality: new | old | first | second | third | final | cheap | expensive | yellow | curved | small | plastic | wooden |
  simple | main | whole | monthly | technical
is: is | was | seems | looks | will be | is still | was never | is almost
are: are | were | seem | look | will be | are still | were never
state: ready | late | too big | too expensive | fine | important | missing | on track | over budget | not clear |
  quite good | unusable | done | too heavy | acceptable | risky | pretty useful | hard to sell | easy to use | out of
  date | under review
tail: <when> | first | again | together | then | for now | if possible | as planned | after lunch | with <who> |
  without <who> | by <day> |  |  |
who: marketing | the industrial designer | the project manager | alice | the chairman | finance | the client | the
  user expert | harold | legal | the accountant | human resources | the intern | support | agnes
money: euros | dollars | pounds | percent | hours | cents
are_they: are | were | why are | why were
"""

_PHONE = """
S: <oh> <we> <felt> <the> <kin> <tail> | <oh> my <kin> <went> <place> <when> | do you <like> <hobby> <tail>
S: <oh> <we> used to <like> <hobby> with my <kin> | i'm calling about <the> <goods> i <bought> <when>
S: <oh> my <kin> and my <kin> both <like> <hobby> | the <goods> is <bad> , <oh> <please> | <please> , my <goods> is
  <bad>
S: <oh> that's <how> <good> , isn't it | <oh> we got <few> <pets> and <few> <pets> <place> | how is your <kin> doing
  <place>
S: <oh> the weather was <how> <weather> <when> | <oh> i don't <like> <hobby> , it's <how> <good>
S: my <kin> <bought> a <colour> <goods> <when> | what kind of <goods> does your <kin> have | <oh> <those> <pets>
  <went> <place>
S: <oh> it was <how> <weather> <place> , <er> <when> | i paid <num> dollars for my <goods> | <oh> my <kin> , <er>
  <went> <place>
oh: oh | <er> | <er> | yeah | uh huh | well | um | hm | no | gosh | really , | you know | i mean | right | anyway |
  hello | listen
felt: love | miss | called | visited | remember | hated | met | helped | thanked | forgave | raised | surprised |
  married
kin: mother | father | sister | brother | daughter | son | uncle | aunt | cousin | husband | wife | neighbour |
  grandmother | nephew | niece | boss | roommate | dentist | teacher | landlord | doctor | best friend | family |
  grandpa | baby | girlfriend
went: went | drove | moved | stayed | came back | got lost | flew | ran | walked | worked | lived | got sick | slept |
  retired
place: home | to texas | in dallas | to the beach | at school | in the country | to the hospital | down south | in the
  garden | upstairs | in california | to the mall | in the kitchen | at church | by the lake | to florida | downtown |
  at the airport | in the yard | over there
like: like | enjoy | want | prefer | try | mind | keep | start | love
hobby: fishing | cooking | baseball | football | swimming | camping | gardening | sewing | dancing | movies | country
  music | basketball | golf | reading | bowling | painting | skiing | karaoke | crosswords | knitting | jogging |
  barbecue | television | old records
goods: phone | truck | computer | washing machine | credit card | insurance | lawn mower | fridge | heater | bicycle |
  guitar | radio | dishwasher | ticket | bank account | apartment | sofa | stove | carpet | garage door | package |
  modem | toaster | mattress | prescription | subscription
bought: bought | sold | returned | ordered | fixed | lost | broke | found | rented | borrowed | got rid of
bad: broken | gone | too noisy | blocked | leaking | stuck | dead | overdue | not working | on fire | making a funny
  noise | locked | frozen
please: please help me | call me back | hold on a second | send someone <when> | can you fix it | thank you so much |
  give me a number | put me through | take a message | speak up a little
how: so | really | pretty | very | kind of | awfully | just | way too | sort of | not that
good: nice | sad | funny | cheap | crazy | exciting | scary | boring | wonderful | weird | terrible | lucky | great |
  different | tough | relaxing
weather: cold | hot | windy | humid | rainy | sunny | cloudy | icy | muggy | chilly | foggy | dry
pets: cats | dogs | kids | chickens | horses | puppies | goldfish | rabbits | grandkids | parrots | turtles | goats |
  bees
colour: red | blue | green | black | white | purple | brown | silver | used | brand new | huge | fancy
tail: <when> | too | though | a lot | these days | sometimes | all the time | every <day> | at <hour> o'clock | over
  there |  |
"""

_TALK = """
S: <so> <the> <idea> <means> that <the> <idea> <can> <grow> | <so> what <those> <people> found is <a> <idea>
S: <so> imagine <a> <idea> that <can> <grow> <scale> | <num> years ago , <those> <people> <made> <a> <idea>
S: <so> <those> <people> <made> <the> <quality> <idea> <scale> | how do we <make> <the> <quality> <idea>
S: <so> this <picture> shows <a> <quality> <idea> | <so> <the> <quality> <idea> <can> <grow> <scale>
S: when <people> <grow> , <the> <idea> <can> <grow> | <so> it turns out <the> <idea> <means> <nothing>
S: i want to <make> <the> <idea> of <the> <idea> | <people> and <people> <can> <make> <the> <idea> together
S: there are <few> <people> who <can> <make> <the> <idea> | <so> <num> percent of <people> <can> <grow> <scale>
a: one | the | this | that | my | their | no
so: so | and | but | now , | um , | in fact , | of course , | however , | you see , | and then | for example , | and
  uh | in other words , | here , |
can: can | could | will | may | cannot | did not | does not | used to | should
idea: theory | brain | planet | language | virus | robot | network | protein | galaxy | molecule | machine | culture |
  memory | disease | forest | ocean | equation | particle | neuron | city | universe | experiment | climate | computer
  | signal | model | story | revolution | species | telescope | gene | method | mirror | hypothesis | democracy |
  technology | phenomenon | future | question | principle | cell | structure | medicine | pattern | algorithm
people: scientists | children | students | patients | physicists | artists | engineers | humans | doctors | animals |
  researchers | leaders | teachers | women | chimpanzees | insects | plants | philosophers | bacteria | citizens |
  inventors | musicians | elephants | pioneers | strangers
means: means | suggests | proves | predicts | shows | implies | reveals | promises | assumes
grow: grow | change | learn | survive | evolve | collapse | expand | disappear | fail | communicate | explode | dream
  | adapt | travel | dissolve | succeed | think | sleep | multiply | spread | vanish | cooperate | heal | matter
make: make | build | understand | measure | explain | transform | discover | imagine | invent | protect | describe |
  control | observe | solve | question | map | reinvent | simulate | design
made: made | built | discovered | invented | published | described | measured | ignored | doubted | explored |
  explained | simulated | challenged | solved
scale: slowly | quickly | all over the world | inside the body | under pressure | without light | in outer space | for
  a thousand years | over millions of years | in the laboratory | in the dark | at the speed of light | beneath the
  surface | by accident | forever | in africa
quality: small | giant | ancient | strange | beautiful | invisible | quantum | digital | human | artificial | genetic
  | simple | powerful | hidden | electric | modern | perfect | global | dangerous | complex | curious | mathematical |
  fragile | magnetic
picture: picture | graph | chart | slide | video | photograph | diagram | experiment | map
nothing: nothing | everything | hope | more energy | less time | a lot | trouble | freedom | something else | very
  little | fewer choices
"""

_CLIPS = """
S: <name> was born in <town> in <month> | the <river> <flows> <where> <town> | <order> <few> <units> of <food>
S: <name> <played> the <role> for <few> seasons | the <site> of <town> was <built> by <name> | <name> became the
  <role> of <town>
S: <name> <played> in <town> and in <town> | <order> the <object> <where> the <site> | the <animal> is <kind> <where>
  <town>
S: the <site> <lies> <where> the <river> | the <object> was <built> in <month> by the <role>
S: <name> and <name> <played> the <object> | the <role> <lies> <where> the <site> | <few> <units> of <food> were
  <built> in <town>
S: the <animal> and the <animal> live <where> <town> | bring me the <object> and the <object> please
S: the <role> of <town> <played> the <object> | the <river> <flows> <where> the <site> and the <site>
name: victoria | napoleon | jackson | charlotte | alexander | maria | robinson | elizabeth | frederick | thompson |
  isabella | edison | columbus | newton | florence | gregory | theodore | hamilton | josephine | leonard | margaret |
  oliver | patricia | samuel | the king | the queen
town: london | paris | boston | berlin | chicago | egypt | sweden | canada | mexico | madrid | toronto | vienna |
  scotland | poland | norway | brazil | kenya | dublin | moscow | athens | portugal | manchester | oregon | india |
  japan | belgium | geneva | hungary
river: river | canal | railway | highway | border | stream | tunnel | trail | bridge | coast | valley | ridge |
  pipeline
flows: runs | flows | passes | ends | turns | rises | begins | stops | continues | bends
where: near | behind | north of | south of | west of | east of | through | towards | around | outside | below | above
  | along | across | beyond
played: painted | wrote | recorded | coached | directed | studied | defeated | photographed | composed | edited |
  admired | collected | founded | owned
role: captain | mayor | governor | goalkeeper | bishop | senator | violinist | admiral | actress | architect |
  composer | president | professor | knight | striker | novelist | pilot | judge | drummer | farmer | chancellor |
  sculptor
site: castle | church | museum | village | stadium | harbour | university | temple | parish | palace | cemetery |
  library | monument | mill | abbey | lighthouse | theatre | market square | railway station | district | fortress |
  island
built: built | destroyed | opened | named | rebuilt | sold | restored | designed | captured | burned | listed |
  finished | donated | expanded
order: bring | find | buy | play | take | show | carry | leave | open | collect | paint | turn off | put away | pick
  up
object: album | novel | guitar | statue | song | opera | ship | film | painting | tower | bicycle | lantern | magazine
  | clock | poem | wagon | piano | tractor | hammer | ladder | umbrella | blanket | bottle | suitcase | wheelbarrow |
  trumpet
lies: lies | stands | was found | stayed | waits | vanished | appears | remained | settled
animal: beetle | moth | sparrow | salmon | orchid | lizard | falcon | otter | squirrel | snail | spider | leopard |
  frog | pigeon | fern | tulip | oak | hedgehog | dolphin
kind: common | rare | found | native | protected | extinct | hunted | endangered | widespread | seen
units: kilos | boxes | tons | bags | barrels | cups | litres | baskets | crates | jars
food: wheat | sugar | butter | cheese | coal | cotton | olives | rice | apples | tobacco | honey | copper | pepper |
  timber | flour | wool | onions | salt
"""

_OWN = {"read": _READ, "meeting": _MEETING, "phone": _PHONE, "talk": _TALK, "clips": _CLIPS}


def sentences(domain: str, stream: str, seed: int, taken: set[str]) -> Iterator[str]:
    """Endless new sentences of a domain, as prompts: commas are pauses. Adds the plain text of each to `taken`."""
    rng = np.random.default_rng(derive_seed(seed, "stew", "text", domain, stream))
    grammar = _grammar(domain)
    while True:
        for _ in range(_MAX_TRIES):
            prompt = _tidy(_expand("S", grammar, rng))
            if (text := plain(prompt)) not in taken:
                taken.add(text)
                yield prompt
                break
        else:
            raise ValueError(f"the grammar of {domain} must give new sentences, but {_MAX_TRIES} in a row were known")


def plain(prompt: str) -> str:
    """The transcript of a prompt: words and single spaces."""
    return " ".join(prompt.replace(",", " ").split())


@functools.cache
def _grammar(domain: str) -> Grammar:
    lines = f"{_SHARED}{_OWN[domain]}".replace("\n  ", " ").strip().split("\n")
    grammar: Grammar = {}
    for line in filter(None, lines):
        name, _, alternatives = line.partition(":")
        grammar[name] = (*grammar.get(name, ()), *(alternative.strip() for alternative in alternatives.split("|")))
    return {**grammar, **wide_vocabulary()} if domain == "read" else grammar


@functools.cache
def _zipf(count: int) -> npt.NDArray[np.float64]:
    """Cumulative chance of the first, second, ... of `count` words."""
    weights = 1.0 / np.arange(1, count + 1) ** ZIPF
    return np.asarray(np.cumsum(weights / weights.sum()))


def _expand(name: str, grammar: Grammar, rng: np.random.Generator) -> str:
    choices = grammar[name]
    if len(choices) > _WIDE:
        return choices[min(int(np.searchsorted(_zipf(len(choices)), rng.random())), len(choices) - 1)]
    chosen = choices[int(rng.integers(len(choices)))]
    parts = chosen.replace("<", ">").split(">")  # odd parts are names
    return "".join(_expand(part, grammar, rng) if row % 2 else part for row, part in enumerate(parts))


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
