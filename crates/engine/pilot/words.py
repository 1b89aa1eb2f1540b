"""Word lists and the small grammar of alternatives that all parts of the corpus share."""

import re

NAMES = """Anna Ben Clara David Emma Felix Greta Hugo Ida Jonas Karl Lena Max Nora Oskar Paula Quentin Rosa Simon Tina Uma Victor
Wanda Xenia Yusuf Zoe Aisha Boris Carmen Dmitri Elena Fatima George Hana Ivan Julia Kofi Laura Maria Nikolai Olga Pedro Rita Samir
Tomas Ursula Vera Walter Yara Zara Amara Bilal Chen Diego Esra Farid Gita Hassan Ines Jamal Kenji Leila Mei Noah Omar Priya Rahul
Sofia Tariq Umar Valentina Wei Yuki Alex Sam Kim Robin Charlie Luca Marco Giulia Pierre Camille Jean Marie Hans Peter Thomas Sarah
Mark John Jane Paul Mary Lucy Alice Bob Carol Dan Eve Frank Grace Heidi Jack Kate Liam Mia Nina Oliver Petra Ralf Stefan Theo
Amir Bruno Cecilia Dora Emil Finn Gustav Helen Igor Johanna Klaus Lukas Mona Nadia Olaf Philip Rebecca Sven Ulla Vincent Adam""".split()
CITIES = """Paris Berlin London Rome Madrid Vienna Oslo Tokyo Lisbon Athens Dublin Prague Warsaw Budapest Helsinki Stockholm Copenhagen
Brussels Bern Zurich Geneva Milan Naples Barcelona Munich Hamburg Cologne Lyon Porto Krakow Boston Chicago Denver Seattle Toronto
Montreal Sydney Melbourne Delhi Mumbai Lagos Nairobi Cairo Accra Lima Bogota Quito Santiago Seoul Hanoi Bangkok Jakarta Dakar""".split()
CAPITALS = dict(pair.split(":") for pair in """France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon Austria:Vienna
Norway:Oslo Sweden:Stockholm Finland:Helsinki Denmark:Copenhagen Poland:Warsaw Hungary:Budapest Greece:Athens Ireland:Dublin
Belgium:Brussels Switzerland:Bern Japan:Tokyo China:Beijing India:Delhi Egypt:Cairo Kenya:Nairobi Ghana:Accra Peru:Lima
Canada:Ottawa Australia:Canberra Brazil:Brasilia Argentina:Buenos_Aires Chile:Santiago Colombia:Bogota Mexico:Mexico_City
Russia:Moscow Ukraine:Kyiv Turkey:Ankara Croatia:Zagreb Serbia:Belgrade Romania:Bucharest Bulgaria:Sofia Iceland:Reykjavik
Estonia:Tallinn Latvia:Riga Lithuania:Vilnius Slovenia:Ljubljana Cuba:Havana Vietnam:Hanoi Thailand:Bangkok Senegal:Dakar""".split())
COLOURS = "red green blue yellow orange purple pink brown black white grey violet turquoise gold silver".split()
ANIMALS = "cat dog horse cow sheep goat lion tiger bear wolf fox rabbit mouse elephant giraffe zebra owl eagle duck goose frog fish whale dolphin bee ant snail turtle".split()
FRUITS = "apple pear plum cherry banana orange lemon grape peach melon mango fig kiwi strawberry raspberry apricot".split()
VEGETABLES = "carrot potato tomato onion cabbage spinach leek pea bean pumpkin cucumber pepper".split()
THINGS = "chair table lamp book pen cup plate key door window clock bag shoe hat coat bottle bicycle candle stone river tree cloud".split()
JOBS = "teacher nurse baker painter farmer pilot engineer doctor writer cook gardener musician carpenter lawyer driver".split()
INSTRUMENTS = "piano violin guitar flute drum trumpet cello harp".split()
TREES = "oak birch pine beech maple willow ash elm".split()
FOODS = "pizza soup bread cheese rice pasta salad cake curry noodles pancakes dumplings beans chocolate".split()
WORDS = """hello world grid power light water river stone bridge garden winter summer morning evening music silence paper letter
forest mountain ocean island harbour engine signal battery current circuit station neighbour village market table number answer
question open closed quick slow bright dark warm cold green blue happy quiet simple honest small large new old first last""".split()
ONSETS = "b br d dr f g gr h j k kl l m n p pr r s st t tr v w z sh th".split()
VOWELS = "a e i o u ai ea oo".split()
CODAS = ["", "", "n", "r", "l", "s", "m", "t", "k", "x"]
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()


def expand(rng, text):
    """Resolves `{a|b}` from the inside out."""
    while True:
        found = re.search(r"\{([^{}]*)\}", text)
        if not found:
            return text
        text = text[: found.start()] + rng.choice(found[1].split("|")) + text[found.end() :]


def sentence(text):
    """Puts the spaces, stops and capitals of an expanded answer in order."""
    text = re.sub(r" +", " ", text).strip()
    text = re.sub(r" \.", ".", text).replace("..", ".").replace("!.", "!").replace("?.", "?")
    return text[:1].upper() + text[1:]


def invented(rng, syllables=(2, 3)):
    """A word that nobody has seen, so that copying has to be learned."""
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.randint(*syllables)))


def a_name(rng):
    return rng.choice(NAMES) if rng.random() < 0.75 else invented(rng).capitalize()


def a_city(rng):
    return rng.choice(CITIES) if rng.random() < 0.75 else invented(rng).capitalize()


def a_word(rng):
    return rng.choice(WORDS + THINGS + ANIMALS) if rng.random() < 0.75 else invented(rng)


def with_article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun
