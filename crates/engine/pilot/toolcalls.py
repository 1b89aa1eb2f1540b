"""Exchanges with tools: what is offered, what the user asks, the call, the result, and the answer drawn from it."""

import json

from words import CITIES, FOODS, NAMES, THINGS, WORDS, a_city, a_name, a_word, expand, invented, sentence

ZONES = ["Europe/Paris", "Europe/Berlin", "Europe/London", "Asia/Tokyo", "America/New_York", "UTC", "Africa/Lagos", "Asia/Delhi", "Australia/Sydney"]
LANGUAGES = ["German", "French", "Spanish", "Italian", "Portuguese", "Polish", "Dutch"]
NOUNS = "order user ticket invoice account customer product booking parcel device job file task report project team room contract".split()


def a_path(rng):
    return rng.choice(["", "src/", "docs/", "/tmp/", "/etc/", "notes/", "data/"]) + rng.choice(WORDS + ["readme", "main", "config", "todo", "report"]) + rng.choice([".txt", ".md", ".rs", ".toml", ".json", ".py", ".csv"])


def text_property(about):
    return {"type": "string", "description": about}


def weather(rng):
    key = rng.choice(["city", "location", "city", "place"])
    city, degrees = a_city(rng), rng.randint(-5, 35)
    sky = rng.choice(["sunny", "cloudy", "rainy", "windy", "snowy", "clear"])
    ask = expand(rng, "{What is|What's|How is|Tell me|Check|Look up} the weather {in|like in|in|for} %s{?|}|" .rstrip("|")) % city
    ask = rng.choice([ask, f"Is it raining in {city}?", f"How warm is it in {city}?", f"What is the temperature in {city}?", f"weather in {city}", f"Do I need a coat in {city}?"])
    result = rng.choice([json.dumps({"temperature": degrees, "condition": sky}), json.dumps({key: city, "temp_c": degrees, "sky": sky}), f"{degrees} degrees, {sky}", f"{sky}, {degrees} °C"])
    answer = expand(rng, f"{{In {city} it is {sky} with {degrees} degrees|It is {sky} in {city}, {degrees} degrees|The weather in {city} is {sky} at {degrees} degrees}}.")
    return spec(rng, "get_weather|getWeather|weather|get_current_weather|weather_lookup", "Get the {current |}weather {for|in|of} a {city|place}", {key: text_property("The city")}), ask, {key: city}, result, answer


def clock(rng):
    key = rng.choice(["timezone", "zone", "tz"])
    zone, now = rng.choice(ZONES), f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    ask = expand(rng, "{What time is it in|What is the time in|Tell me the time in|Current time in} %s{?|}") % zone
    return spec(rng, "get_time|current_time|clock|now", "Get the {current |}time in a time zone", {key: text_property("Name of the time zone")}), ask, {key: zone}, rng.choice([now, json.dumps({"time": now})]), f"It is {now} in {zone}."


def add(rng):
    a, b = rng.randint(0, 999), rng.randint(0, 999)
    keys = rng.choice([("a", "b"), ("x", "y"), ("first", "second")])
    ask = expand(rng, "{What is|Add|Calculate|How much is|Compute} ") + rng.choice([f"{a} plus {b}", f"{a} + {b}", f"{a} and {b} added"]) + rng.choice(["?", "", "."])
    props = {k: {"type": rng.choice(["number", "integer"])} for k in keys}
    return spec(rng, "add|sum|add_numbers|calculator_add", "Add two numbers", props), ask, dict(zip(keys, (a, b))), rng.choice([str(a + b), json.dumps({"result": a + b})]), rng.choice([f"{a} plus {b} is {a + b}.", f"The sum is {a + b}.", f"It is {a + b}."])


def search(rng):
    topic = " ".join(a_word(rng) for _ in range(rng.randint(1, 3)))
    found = rng.randint(1, 40)
    key = rng.choice(["query", "q", "text"])
    ask = expand(rng, "{Search for|Look up|Find|Search the web for|Please search for|Can you search for} %s{.|?|}") % topic
    return spec(rng, "search|web_search|find|search_web", "Search {the web|for documents|the archive}", {key: text_property("What to search for")}), ask, {key: topic}, json.dumps({"results": found, "first": topic.capitalize() + " explained"}), expand(rng, f"{{I found {found} results|There are {found} results}}. The first is \"{topic.capitalize()} explained\".")


def read_file(rng):
    path, words = a_path(rng), " ".join(a_word(rng) for _ in range(rng.randint(2, 5)))
    key = rng.choice(["path", "file_path", "filename", "file"])
    ask = expand(rng, "{Read|Open|Show me|What is in|Read the file|Print|Please read|What does the file} ") + path
    return spec(rng, "read_file|read|open_file|cat|Read", "Read a file{ and return its text|}", {key: text_property("Path of the file")}), ask, {key: path}, words, expand(rng, f"{{The file says|{path} contains|It says}}: {words}")


def list_files(rng):
    folder = rng.choice(["src", "docs", "/tmp", "data", "notes", ".", "/home"]) if rng.random() < 0.6 else invented(rng)
    names = [a_path(rng).split("/")[-1] for _ in range(rng.randint(1, 3))]
    ask = expand(rng, "{List the files in|What files are in|Which files are in|Show the folder|ls} ") + folder
    return spec(rng, "list_files|ls|list_directory", "List the files {in|of} a folder", {"path": text_property("The folder")}), ask, {"path": folder}, "\n".join(names), f"{folder} contains " + ", ".join(names) + "."


def email(rng):
    who, topic = a_name(rng), " ".join(a_word(rng) for _ in range(rng.randint(1, 3)))
    address = f"{who.lower()}@example.{rng.choice(['org', 'com', 'net'])}"
    ask = rng.choice([f"Send an email to {address} with the subject {topic}", f"Write to {address} about {topic}", f"Email {address}, subject {topic}"]) + rng.choice([".", ""])
    return spec(rng, "send_email|send_mail|email", "Send an email", {"to": text_property("Address"), "subject": text_property("Subject")}), ask, {"to": address, "subject": topic}, rng.choice(["sent", json.dumps({"status": "sent"}), "ok"]), f"The email to {address} was sent."


def reminder(rng):
    task, at = rng.choice(["call", "visit", "write to", "meet"]) + " " + a_name(rng), f"{rng.randint(7, 21):02}:{rng.choice(['00', '15', '30', '45'])}"
    ask = rng.choice([f"Remind me to {task} at {at}", f"Set a reminder: {task} at {at}", f"At {at} remind me to {task}"]) + rng.choice([".", ""])
    return spec(rng, "set_reminder|create_reminder|remind", "Set a reminder", {"text": text_property("What"), "time": text_property("When, HH:MM")}), ask, {"text": task, "time": at}, rng.choice(["ok", "done", json.dumps({"ok": True})]), f"I will remind you to {task} at {at}."


def translate(rng):
    word, language = a_word(rng), rng.choice(LANGUAGES)
    other = invented(rng)
    ask = rng.choice([f"Translate {word} to {language}", f"What is {word} in {language}?", f"How do you say {word} in {language}?"])
    return spec(rng, "translate|translate_text", "Translate text", {"text": text_property("Text"), "language": text_property("Target language")}), ask, {"text": word, "language": language}, other, f"In {language}, {word} is {other}."


def convert(rng):
    amount, (a, b) = rng.randint(1, 900), rng.sample(["EUR", "USD", "GBP", "CHF", "JPY", "INR"], 2)
    value = round(amount * rng.uniform(0.5, 2), 2)
    ask = rng.choice([f"Convert {amount} {a} to {b}", f"How much is {amount} {a} in {b}?", f"{amount} {a} in {b}"])
    props = {"amount": {"type": "number"}, "from": text_property("Currency"), "to": text_property("Currency")}
    return spec(rng, "convert_currency|convert|exchange", "Convert money", props), ask, {"amount": amount, "from": a, "to": b}, rng.choice([str(value), json.dumps({"value": value})]), f"{amount} {a} is {value} {b}."


def shell(rng):
    command = rng.choice(["ls", "pwd", "date", "whoami", "git status", "df -h", "cargo test", "uptime", "cat notes.txt", "echo " + a_word(rng)])
    out = a_word(rng) + rng.choice(["", " " + a_word(rng)])
    ask = expand(rng, "{Run|Execute|Please run|Run the command|Can you run} ") + command
    return spec(rng, "bash|shell|run_command|exec", "Run a {shell |}command", {"command": text_property("The command to run")}), ask, {"command": command}, out, f"The output is: {out}"


def order_food(rng):
    food, n = rng.choice(FOODS), rng.randint(1, 9)
    ask = rng.choice([f"Order {n} {food}", f"I want {n} {food}, please", f"Please order {n} portions of {food}"])
    return spec(rng, "order_food|place_order|order", "Order food", {"item": text_property("Dish"), "quantity": {"type": "integer"}}), ask, {"item": food, "quantity": n}, json.dumps({"order": rng.randint(100, 999)}), f"I have ordered {n} {food}."


def generic(rng):
    verb, noun = rng.choice(["get", "lookup", "find", "delete", "open", "close", "check", "show"]), rng.choice(NOUNS)
    number = rng.choice([rng.randint(1, 99999), f"{rng.choice('ABCDEFX')}-{rng.randint(10, 9999)}"])
    key = rng.choice([f"{noun}_id", "id", f"{noun}Id", "number"])
    kind = "integer" if isinstance(number, int) else "string"
    state = rng.choice(["open", "closed", "ready", "late", "paid", "new", "done", "active"])
    ask = expand(rng, "{|Please |Can you |}") + f"{verb} {rng.choice(['the ', ''])}{noun} {rng.choice(['', 'number ', 'with id '])}{number}" + rng.choice(["", ".", "?"])
    return spec(rng, f"{verb}_{noun}|{verb}{noun.capitalize()}", f"{verb.capitalize()} {rng.choice(['a', 'one', 'the'])} {noun}", {key: {"type": kind}}), ask, {key: number}, rng.choice([json.dumps({"state": state}), json.dumps({key: number, "status": state}), state]), f"The {noun} {number} is {state}."


def word_tool(rng):
    """A tool with an invented name: only its description and its arguments tell what to do."""
    name, subject = invented(rng), a_word(rng)
    key = rng.choice(["text", "input", "value", "name", "word"])
    out = a_word(rng)
    ask = expand(rng, "{Use|Call|Run|Please use} %s {with|on|for} %s{.|}") % (name, subject)
    return spec(rng, name, f"{rng.choice(['Works on', 'Handles', 'Transforms'])} a {key}", {key: {"type": "string"}}), ask, {key: subject}, out, rng.choice([f"The result is {out}.", f"{name} returned {out}."])


FAMILIES = [weather, weather, weather, clock, add, search, read_file, list_files, email, reminder, translate, convert, shell, order_food, generic, generic, word_tool]


def spec(rng, names, about, properties):
    """A tool as clients declare it, with the small differences between clients."""
    properties = {k: dict(v) for k, v in properties.items()}
    if rng.random() < 0.3:
        for p in properties.values():
            p.pop("description", None)
    parameters = {"type": "object", "properties": properties}
    if rng.random() < 0.85:
        parameters["required"] = list(properties)
    if rng.random() < 0.15:
        parameters["additionalProperties"] = False
    function = {"name": rng.choice(names.split("|"))}
    if rng.random() < 0.9:
        function["description"] = expand(rng, about) + rng.choice(["", "."])
    function["parameters"] = parameters
    return {"type": "function", "function": function}


def call_message(calls):
    return {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": n, "arguments": a}} for n, a in calls]}


def offered(rng, tools, families=(), most=3):
    """The needed tools among others, none of the same name or of the same family."""
    chosen = list(tools)
    for _ in range(rng.randint(0, most - 1)):
        family = rng.choice(FAMILIES)
        other = family(rng)[0]
        if family not in families and other["function"]["name"] not in [t["function"]["name"] for t in chosen]:
            chosen.append(other)
    rng.shuffle(chosen)
    return chosen


def single(rng):
    """(tools, key, messages) for one call, sometimes followed by a second of the same tool."""
    family = rng.choice(FAMILIES)
    tool, ask, arguments, result, answer = family(rng)
    name = tool["function"]["name"]
    messages = [{"role": "user", "content": ask}, call_message([(name, arguments)]),
                {"role": "tool", "content": result}, {"role": "assistant", "content": sentence(answer) if family is not read_file else answer}]
    if family is weather and rng.random() < 0.3:
        city, (key, _) = a_city(rng), *arguments.items()
        degrees = rng.randint(-5, 35)
        messages += [{"role": "user", "content": rng.choice([f"And in {city}?", f"What about {city}?", f"and {city}"])}, call_message([(name, {key: city})]),
                     {"role": "tool", "content": f"{degrees} degrees"}, {"role": "assistant", "content": f"In {city} it is {degrees} degrees."}]
    return offered(rng, [tool], [family]), f"tool:{ask}", messages


def parallel(rng):
    """Two calls of one tool in one turn."""
    tool, _, arguments, _, _ = weather(rng)
    (key, _), name = *arguments.items(), tool["function"]["name"]
    a, b = rng.sample(CITIES, 2)
    x, y = rng.randint(-5, 35), rng.randint(-5, 35)
    ask = rng.choice([f"What is the weather in {a} and {b}?", f"Compare the weather in {a} and {b}.", f"How warm is it in {a} and in {b}?"])
    messages = [{"role": "user", "content": ask}, call_message([(name, {key: a}), (name, {key: b})]),
                {"role": "tool", "content": f"{x} degrees"}, {"role": "tool", "content": f"{y} degrees"},
                {"role": "assistant", "content": f"In {a} it is {x} degrees, in {b} it is {y} degrees."}]
    return offered(rng, [tool], [weather]), f"tool:{ask}", messages


def missing(rng):
    """The user wants something for which no tool is offered."""
    family = rng.choice([weather, email, read_file, clock, translate, order_food])
    tool, ask, *_ = family(rng)
    others = []
    while not others:
        others = offered(rng, [], [family, search, shell])
    answer = expand(rng, "{I have no tool for that|None of my tools can do that|I was not given a tool for that}{.|, and I cannot do it by myself.}")
    return others, f"notool:{ask}", [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
