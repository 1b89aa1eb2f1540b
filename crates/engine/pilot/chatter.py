"""Exchanges made from a rule rather than written out: sums, lists, capitals, repeating, verses, JSON, and recall.

Each maker takes a random source and returns (question, answer).
"""

import json

from words import (ANIMALS, CAPITALS, CITIES, COLOURS, FOODS, FRUITS, INSTRUMENTS, JOBS, NUMBERS, THINGS, TREES, VEGETABLES, WORDS,
                   a_city, a_name, a_word, expand, invented, sentence, with_article)

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
KINDS = {"animals": ANIMALS, "colours": COLOURS, "fruits": FRUITS, "vegetables": VEGETABLES, "cities": CITIES, "jobs": JOBS,
         "instruments": INSTRUMENTS, "trees": TREES, "foods": FOODS, "countries": list(CAPITALS), "things": THINGS,
         "things you find at home": THINGS, "names": ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Ida", "Max", "Nora"]}
FACTS = {
    "cat": "Cats sleep most of the day and hear very well", "dog": "Dogs smell far better than people do",
    "horse": "Horses can sleep standing up", "cow": "Cows have four parts to their stomach", "owl": "Owls fly almost without a sound",
    "elephant": "Elephants are the largest animals on land", "giraffe": "Giraffes are the tallest animals",
    "whale": "The blue whale is the largest animal there is", "bee": "Bees make honey and dance to show the way",
    "ant": "Ants live in colonies and carry many times their weight", "snail": "Snails carry their house and move slowly",
    "frog": "Frogs live in water and on land", "wolf": "Wolves live in packs", "bear": "Many bears sleep through the winter",
    "duck": "Ducks swim, dive and fly", "eagle": "Eagles see very far", "turtle": "Turtles can grow very old",
    "dolphin": "Dolphins are mammals that live in the sea", "fox": "Foxes are clever and hunt at night", "lion": "Lions live in groups called prides"}
SOUNDS = {"cat": "meow", "dog": "woof", "cow": "moo", "sheep": "baa", "duck": "quack", "horse": "neigh", "owl": "hoot", "bee": "buzz", "frog": "croak", "lion": "roar"}
OPPOSITES = {"hot": "cold", "big": "small", "fast": "slow", "light": "dark", "old": "young", "open": "closed", "up": "down", "happy": "sad",
             "long": "short", "rich": "poor", "full": "empty", "early": "late", "hard": "soft", "loud": "quiet", "wet": "dry", "day": "night"}
HAIKU = [["{Quiet|Gentle} morning light", "{Evening wind and rain|A small lamp is on}", "{The first snow of {the year|winter}|Rain upon the roof}", "Moon above the hill"],
         ["{a small voice inside the wire|the grid hums in the valley}", "{a river carries the leaves|a bird sings in the garden}", "{nobody is in a hurry|the old clock counts the hours}"],
         ["{the lamp is still on|power is shared here}", "{and the day begins|and the night is calm}", "{I wait and listen|nothing is lost now}"]]
PLACES = ["by the sea", "in the mountains", "in a small town", "near an old bridge", "on a quiet island", "in a green valley", "at the edge of a forest"]


def addition(rng):
    a, b = rng.randint(0, 20), rng.randint(0, 20)
    kind = rng.choice(["plus", "plus", "plus", "minus", "times"])
    if kind == "minus":
        a, b = max(a, b), min(a, b)
    if kind == "times":
        a, b = rng.randint(0, 10), rng.randint(0, 10)
    sign = {"plus": "+", "minus": "-", "times": "*"}[kind]
    value = {"plus": a + b, "minus": a - b, "times": a * b}[kind]
    shown = rng.choice([f"{a} {kind} {b}", f"{a} {sign} {b}", f"{a}{sign}{b}"])
    if rng.random() < 0.15 and a <= 20 and b <= 20:
        shown = f"{NUMBERS[a]} {kind} {NUMBERS[b]}"
    ask = expand(rng, "{What is|What's|How much is|Calculate|Compute|Tell me} %s{?|}") % shown
    return ask, rng.choice([f"{a} {kind} {b} is {value}.", f"That is {value}.", f"{a} {sign} {b} = {value}."])


def counting(rng):
    end = rng.randint(3, 20) if rng.random() < 0.8 else rng.choice([25, 30, 40, 50, 60, 70, 80, 90, 100])
    start = 1 if rng.random() < 0.75 else rng.randint(2, end - 1)
    down = end <= 20 and rng.random() < 0.2
    numbers = list(range(start, end + 1))
    shown = f"{'from %d ' % start if start > 1 or rng.random() < 0.2 else ''}to {end}"
    if down:
        numbers, shown = numbers[::-1], f"down from {end} to {start}"
    ask = expand(rng, "{Count|Please count|Can you count|Count for me|Could you count} ") + shown + rng.choice(["", ".", "?", ", please."])
    return ask, ", ".join(map(str, numbers)) + "."


def listing(rng):
    kind = rng.choice(list(KINDS))
    n = rng.choice([2, 3, 3, 3, 3, 4, 5])
    picks = rng.sample(KINDS[kind], n)
    ask = expand(rng, "{Name|List|Give me|Tell me|Write down|Say} ") + rng.choice([str(n), NUMBERS[n]]) + f" {kind}" + rng.choice([".", "", ", please.", "?"])
    style = rng.random()
    if style < 0.6:
        answer = sentence(", ".join(picks[:-1]) + " and " + picks[-1] + ".")
    elif style < 0.8:
        answer = "\n".join(f"{i}. {p.capitalize()}" for i, p in enumerate(picks, 1))
    else:
        answer = "\n".join(f"- {p.capitalize()}" for p in picks)
    return ask, answer


def capital(rng):
    country = rng.choice(list(CAPITALS))
    city = CAPITALS[country].replace("_", " ")
    if rng.random() < 0.2:
        return expand(rng, "{%s is the capital of which country?|Of which country is %s the capital?}" % (city, city)), f"{city} is the capital of {country}."
    ask = expand(rng, rng.choice(["{What is|What's|Name|Tell me|Do you know} the capital of %s{?|}", "{Which city is the capital of|The capital of} %s{?|}"]) % country)
    return ask, rng.choice([f"The capital of {country} is {city}.", f"{city} is the capital of {country}.", f"{city}."])


def repeat(rng):
    n = rng.choice([1, 1, 2, 3, 4])
    phrase = " ".join(a_word(rng) for _ in range(n))
    phrase = rng.choice([phrase, phrase.capitalize(), phrase.upper() if n == 1 else phrase])
    quoted = rng.choice([phrase, f'"{phrase}"', f"'{phrase}'", f": {phrase}"])
    ask = expand(rng, "{Say|Repeat|Please say|Repeat after me|Say the words|Write|Please repeat|Answer only with|Reply with|Just say|Respond with|Say exactly|Echo}") + (" " if quoted[0] != ":" else "") + quoted + rng.choice(["", ".", "", ", please"])
    return ask, phrase


def spelling(rng):
    word = a_word(rng)
    return expand(rng, "{How do you spell|Spell|Please spell|Can you spell} ") + word + rng.choice(["", "?", "."]), "-".join(word.upper()) + "."


def fact(rng):
    animal = rng.choice(list(FACTS))
    many = {"wolf": "wolves", "fox": "foxes"}.get(animal, animal + "s")
    ask = expand(rng, "{Tell me about|What do you know about|Tell me something about|What can you say about} %s{?|.|}") % rng.choice([many, f"the {animal}"])
    return ask, FACTS[animal] + rng.choice([".", ". That is about all I know.", ". More than that I do not know."])


def sound(rng):
    animal = rng.choice(list(SOUNDS))
    return expand(rng, "{What does a %s say|What sound does a %s make|Which sound does a %s make}?".replace("%s", animal)), f"A {animal} says {SOUNDS[animal]}."


def opposite(rng):
    a, b = rng.choice(list(OPPOSITES.items()))
    a, b = (a, b) if rng.random() < 0.5 else (b, a)
    return expand(rng, "{What is|What's|Tell me|Do you know} the opposite of ") + a + rng.choice(["?", ""]), rng.choice([f"The opposite of {a} is {b}.", f"{b.capitalize()}."])


def calendar(rng):
    names, kind = rng.choice([(DAYS, "day"), (MONTHS, "month")])
    i = rng.randrange(len(names))
    after = rng.random() < 0.6
    other = names[(i + (1 if after else -1)) % len(names)]
    word = "after" if after else "before"
    ask = expand(rng, "{Which|What} %s {comes|is} %s %s?" % (kind, word, names[i]))
    return ask, rng.choice([f"{other} comes {word} {names[i]}.", f"{other}."])


def haiku(rng):
    about = rng.choice(["", "", " about " + rng.choice(["the sea", "winter", "a lamp", "the grid", "rain", "spring", "a river", "the moon", "electricity"])])
    ask = expand(rng, "{Write|Write me|Can you write|Please write|Give me|Make|Tell me} {a haiku|a short poem|a poem|a little poem|a tiny poem}") + about + rng.choice([".", "", ", please.", "?"])
    a, b, c = (rng.choice(lines) for lines in HAIKU)
    subject = about.removeprefix(" about ")
    if subject and rng.random() < 0.6:
        return ask, expand(rng, f"{sentence(subject)} at {{dawn|night|noon}},\n{b},\n{c}.")
    return ask, expand(rng, f"{a},\n{b},\n{c}.")


def story(rng):
    who, name, place, thing = rng.choice(ANIMALS + JOBS), a_name(rng), rng.choice(PLACES), rng.choice(THINGS)
    about = rng.random() < 0.5
    ask = expand(rng, "{Tell me|Write|Can you tell me|Please tell me|Make up|Write me} {a story|a short story|a little story|a very short story}")
    ask += (f" about {with_article(who)}" if about else "") + rng.choice([".", "", ", please.", "?"])
    answer = expand(rng, f"{{Once there was|There was once}} {with_article(who)} {{named|called}} {name} who lived {place}. "
                    f"One {{day|morning|evening|winter}} {name} found {with_article(thing)} {{that nobody wanted|under a tree|beside the road}}. "
                    f"{name} {{took it home|gave it to a friend|showed it to the neighbours}}, and {{since then they share it|from that day on nobody was alone|everyone was glad}}.")
    return ask, answer


def long_story(rng):
    """A story of many sentences, so that a long answer keeps its thread and its names."""
    who, name, friend, place = rng.choice(ANIMALS + JOBS), a_name(rng), a_name(rng), rng.choice(PLACES)
    thing, other = rng.sample(THINGS, 2)
    ask = expand(rng, "{Tell me|Write|Can you tell me|Please tell me|Make up} {a long story|a longer story|a story with many sentences|a bedtime story|a long tale}")
    ask += rng.choice(["", f" about {with_article(who)}"]) + rng.choice([".", "", ", please.", "?"])
    answer = expand(rng, f"{{Once there was|There was once|A long time ago there was}} {with_article(who)} {{named|called}} {name} who lived {place}. "
        f"{{Every morning|Every day|Each evening}} {name} {{walked to the river|looked at the sky|sat under an old tree}} and {{thought of the world|waited for the light|listened to the wind}}. "
        f"One {{day|winter|summer|night}} the {{lights went out|wind grew strong|snow fell for a week|river rose}}, and {{nobody knew what to do|everyone was afraid|all the doors stayed closed}}. "
        f"{name} took {with_article(thing)} and {{went to the market|went from house to house|climbed the hill}}. "
        f"There {name} met {friend}, who had {with_article(other)} {{and nothing else|and a good idea|and no fear}}. "
        f"\"{{Alone we can do little|I cannot do it alone|What I have is small}},\" said {friend}, \"{{but together it is enough|but we can share|but two are more than one}}.\" "
        f"So {{they worked all night|they put everything together|they asked the neighbours for help}}, and {{each one brought something|nobody had to give much|soon there were many hands}}. "
        f"In the morning {{there was light again|the village was warm|the bridge was whole again}}. "
        f"{name} and {friend} {{became friends|stayed friends for life|laughed}}, and {{the {thing} still stands in the square|people still tell of it|since then nobody there is ever alone}}.")
    return ask, answer


def json_person(rng):
    person = {"name": a_name(rng), "age": rng.randint(4, 90), "city": a_city(rng), "job": rng.choice(JOBS), "colour": rng.choice(COLOURS)}
    said = {"age": f"is {person['age']}{rng.choice(['', ' years old'])}", "city": f"lives in {person['city']}",
            "job": f"works as {with_article(person['job'])}", "colour": f"likes {person['colour']}"}
    fields = rng.sample(list(said), rng.randint(1, 3))
    words = [said[f] for f in fields]
    text = f"{person['name']} " + (words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1])
    keys = ["name"] + fields
    listed = ", ".join(keys[:-1]) + " and " + keys[-1]
    ask = expand(rng, "{Answer in JSON with|Answer as JSON with|Give me JSON with|Return JSON with|Reply in JSON with|Extract as JSON} {the fields|fields|the keys} ") + listed + ": " + text + rng.choice([".", ""])
    return ask, dump(rng, {k: person[k] for k in keys})


def json_thing(rng):
    thing, price, count, colour = rng.choice(THINGS + FRUITS), rng.randint(1, 99), rng.randint(1, 30), rng.choice(COLOURS)
    kind = rng.randrange(4)
    lead = expand(rng, "{Answer in JSON|Answer as JSON|Reply only with JSON|Return a JSON object|Give me a JSON object|Output JSON} with ")
    if kind == 0:
        return lead + f"item and price: the {thing} costs {price}", dump(rng, {"item": thing, "price": price})
    if kind == 1:
        return lead + f"item, colour and count: {count} {colour} {thing}s", dump(rng, {"item": thing, "colour": colour, "count": count})
    if kind == 2:
        country = rng.choice(list(CAPITALS))
        return lead + f"the field capital: What is the capital of {country}?", dump(rng, {"capital": CAPITALS[country].replace("_", " ")})
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    return lead + f"the field {rng.choice(['result', 'result'])}: {a} plus {b}", dump(rng, {"result": a + b})


def json_list(rng):
    kind = rng.choice([k for k in KINDS if " " not in k])
    n = rng.choice([2, 3, 3, 4])
    ask = expand(rng, "{Give me|List|Name|Return} ") + f"{rng.choice([str(n), NUMBERS[n]])} {kind} " + rng.choice(["as a JSON list", "as a JSON array", "in JSON", "as JSON"]) + rng.choice([".", ""])
    return ask, json.dumps(rng.sample(KINDS[kind], n))


def dump(rng, value):
    return json.dumps(value, ensure_ascii=False) if rng.random() < 0.85 else json.dumps(value, ensure_ascii=False, indent=2)


MAKERS = {addition: 3, counting: 2, listing: 3, capital: 3, repeat: 4, spelling: 0.5, fact: 1, sound: 0.5, opposite: 1, calendar: 1,
          haiku: 1.5, story: 1.2, long_story: 0.8, json_person: 2.5, json_thing: 1.5, json_list: 0.7}

# What a user may tell and later ask for: how it is told, acknowledged, asked, recalled, and admitted as unknown.
RECALL = {
    "name": (a_name, "{My name is|I am|I'm|Call me|My name's|They call me|You can call me|Hi, I am|Hello, my name is|Hi, my name is} %s{.|!|}",
             "{Nice to meet you|Hello|Good to meet you|Pleased to meet you|Welcome}, %s{.|!} {How can I help?|What can I do for you?|I am the pilot.|}",
             "{What is my name|What's my name|Do you know my name|Who am I|Do you remember my name|What did I say my name was|Can you tell me my name}?",
             "{Your name is %s|You are %s|You told me your name is %s}.", "{You have not told me your name{ yet|}|I do not know your name}."),
    "colour": (lambda rng: rng.choice(COLOURS), "{My favourite colour is|My favorite color is|I like the colour|The colour I like best is} %s{.|}",
               "{A good choice.|I will keep in mind: %s.|%s is a fine colour.|Noted: %s.}",
               "{What is my favourite colour|What's my favorite color|Which colour do I like|Do you remember my favourite colour}?",
               "{Your favourite colour is %s|You like %s|You said %s}.", "{You have not told me your favourite colour|I do not know which colour you like}."),
    "number": (lambda rng: str(rng.randint(2, 9999)), "{My number is|Remember the number|My lucky number is|Keep in mind the number|Please remember} %s{.|}",
               "{I will remember %s.|Noted: %s.|All right, %s.|Good, I keep %s in mind.}",
               "{What is my number|Which number did I tell you|What was the number|What's my lucky number|Which number should you remember}?",
               "{Your number is %s|The number was %s|You said %s|It was %s}.", "{You have not told me a number|I do not know a number of yours}."),
    "city": (a_city, "{I live in|I am from|I'm from|My home is|I come from} %s{.|}", "{I hope %s is a good place to live.|%s, good to know.|I have never been to %s, I am only a program.}",
             "{Where do I live|Where am I from|Which city do I live in|Do you remember where I live}?",
             "{You live in %s|You are from %s|You told me %s}.", "{You have not told me where you live|I do not know where you live}."),
    "pet": (lambda rng: a_name(rng), "{My dog is called|My cat is called|My pet's name is|My dog's name is|I have a cat named} %s{.|}",
            "{%s is a nice name.|Say hello to %s from me.|%s, how lovely.}", "{What is my pet called|What is the name of my pet|What's my pet's name|Do you remember my pet's name}?",
            "{Your pet is called %s|Your pet's name is %s|%s}.", "{You have not told me about a pet|I do not know your pet's name}."),
    "word": (lambda rng: invented(rng) if rng.random() < 0.5 else rng.choice(WORDS), "{The secret word is|The password is|Remember the word|Remember this word:|The code word is} %s{.|}",
             "{I will remember %s.|Noted.|The word is %s, I keep it in mind.|All right, %s.}", "{What is the secret word|What was the word|What is the password|Which word did I tell you|What's the code word}?",
             "{The word is %s|It is %s|You said %s|The word was %s}.", "{You have not told me a word|I do not know the word}."),
}


def told(rng, topic):
    """(value, statement, acknowledgement)"""
    make, statement, ack, *_ = RECALL[topic]
    value = make(rng)
    return value, expand(rng, statement).replace("%s", value), sentence(expand(rng, ack).replace("%s", value))


def asked(rng, topic, value):
    """(question, answer); without a value the answer admits that it was not told."""
    *_, question, known, unknown = RECALL[topic]
    answer = expand(rng, known).replace("%s", value) if value else expand(rng, unknown)
    return expand(rng, question), sentence(answer)
