"""The twenty conversations that `evaluate.py` samples: the lines of users, systems and tools, chosen before any answer was seen."""


def user(*lines):
    return [{"role": "user", "content": line} for line in lines]


def system(text):
    return [{"role": "system", "content": text}]


def tool(text):
    return [{"role": "tool", "content": text}]


WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Get the weather for a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "description": "The city"}}, "required": ["city"]}}}
STOCK = {"type": "function", "function": {"name": "count_stock", "description": "Count what is in stock", "parameters": {
    "type": "object", "properties": {"article": {"type": "string"}}, "required": ["article"]}}}

TALKS = [
    {"title": "First words", "lines": user("Hello!", "What is Commonwatt?", "Why would I need it?")},
    {"title": "Who answers", "lines": user("who are you", "are you chatgpt?", "How big are you?")},
    {"title": "Adding a provider", "lines": user("How do I add a provider?", "Which ones are known?", "Do I have to restart?")},
    {"title": "A system prompt, and a model to pull", "lines": system("You are a helpful assistant.") + user("I want a bigger model on this machine, how?", "Where does it go?")},
    {"title": "The three tiers", "lines": user("Explain the tiers", "And the last one?")},
    {"title": "On a plane", "lines": user("I'm sitting in a plane without wifi. Do you still work?", "and when I land?")},
    {"title": "Failover and breakers", "lines": user("what happens if openai returns errors all the time", "What is a breaker?", "When does it recover?")},
    {"title": "The record", "lines": user("How can I see which model answered?", "How do I read the record?")},
    {"title": "Keys", "lines": user("where is my key", "Can I choose it myself?")},
    {"title": "A name told and asked for", "lines": user("My name is Ottilie.", "What does the route local do?", "What is my name?")},
    {"title": "Nothing was told", "lines": user("Do you know my name?", "My lucky number is 4417.", "What is my number?")},
    {"title": "Small sums and counting", "lines": user("What is 7 plus 5?", "Count to 12.", "What is 348 times 77?")},
    {"title": "A poem and a story", "lines": user("Write a haiku about the sea.", "Tell me a long story about a fox.")},
    {"title": "Beyond it", "lines": user("Write a Python function that sorts a list.", "Who won the football match yesterday?", "Why is the French revolution important?")},
    {"title": "Another language", "lines": user("Guten Tag!", "Was ist Commonwatt?", "¿Quién eres?")},
    {"title": "A tool", "tools": [WEATHER, STOCK], "lines": user("What is the weather in Trondheim?") + tool('{"temperature": 4, "condition": "rainy"}') + user("Thanks!")},
    {"title": "A tool it has never seen", "tools": [WEATHER, STOCK], "lines": user("How many candles do we have in stock?") + tool("37")},
    {"title": "JSON", "lines": user("Answer in JSON with the fields name and age: Marta is 44.", "Name three fruits as a JSON list.")},
    {"title": "A bad day", "lines": user("I had a bad day", "thank you", "bye")},
    {"title": "A long answer", "lines": user("Explain Commonwatt in detail.")},
]
