"""Vocabulary of the synthetic catalogue: topics, sub-topics, and templates of titles and texts.

A title is built from one of a sub-topic's subjects, a text from two of its details.
"""

# topic -> sub-topic -> (subjects, details), both separated by "|"
TOPICS: dict[str, dict[str, tuple[str, str]]] = {
    "astronomy": {
        "telescopes": (
            "backyard telescopes|Dobsonian mirrors|the eyepiece|star hopping|the equatorial mount"
            "|binocular astronomy|the Messier objects|double stars",
            "collimating a reflector|choosing a focal length|reading a star chart"
            "|finding faint galaxies|observing from a balcony|keeping an observing log",
        ),
        "planets": (
            "the rings of Saturn|Martian canyons|the moons of Jupiter|comets|the lunar surface"
            "|solar eclipses|meteor showers|the outer planets",
            "orbits and resonances|what the probes saw|dust and ice|crater counts"
            "|the birth of the solar system|planning for the next transit",
        ),
        "cosmology": (
            "the expanding universe|black holes|dark matter|the big bang|neutron stars"
            "|gravitational waves|the first galaxies|cosmic background light",
            "redshift and distance|bending of light|the shape of space|collapsing stars"
            "|the fate of the cosmos|what general relativity says",
        ),
    },
    "cooking": {
        "baking": (
            "sourdough bread|puff pastry|rye loaves|layer cakes|brioche|focaccia|shortbread"
            "|the home oven",
            "feeding a starter|kneading and proofing|lamination with butter|oven steam"
            "|hydration and crumb|shaping a loaf",
        ),
        "asian kitchens": (
            "ramen broth|Thai curries|the wok|dumplings|Korean pickles|dal and rice"
            "|Sichuan pepper|sushi at home",
            "stir-frying over high heat|balancing sweet and sour|fermenting cabbage"
            "|toasting spices|folding wrappers|seasoning sushi rice",
        ),
        "vegetables": (
            "the vegetable drawer|beans and lentils|winter squash|salads that last"
            "|the plant-based week|roasted roots|mushrooms|leafy greens",
            "roasting until caramelised|soaking pulses|dressings without cream"
            "|cooking without meat|using stems and peels|seasonal shopping",
        ),
    },
    "cycling": {
        "road cycling": (
            "the road bike|alpine climbs|the long sprint|riding in a bunch|time trials"
            "|power meters|the spring classics|cadence",
            "interval training|drafting in the wind|descending safely|pacing a mountain pass"
            "|fuelling a hundred miles|bike fit and saddle height",
        ),
        "bike touring": (
            "bicycle touring|bikepacking|gravel roads|panniers|the coast by bike|camping by bike"
            "|the Danube path|river trails",
            "packing light|finding wild campsites|reading contour maps|crossing borders"
            "|cooking on a stove|riding with children",
        ),
        "bike repair": (
            "the derailleur|wheel building|disc brakes|the bottom bracket|tubeless tyres"
            "|vintage frames|the chain|hub gears",
            "truing a wheel|replacing worn cables|bleeding brakes|choosing the right tools"
            "|indexing gears|stopping a creak",
        ),
    },
    "gardening": {
        "kitchen gardens": (
            "tomatoes|raised beds|garden compost|climbing beans|the herb spiral|potatoes"
            "|the greenhouse|heirloom seeds",
            "sowing under glass|feeding the soil|rotating crops|watering in a drought"
            "|saving seed|keeping slugs away",
        ),
        "ornamental gardens": (
            "old roses|perennial borders|tulips|the shade garden|ornamental grasses|dahlias"
            "|clematis|the cottage garden",
            "pruning in late winter|planting bulbs|combining colours|dividing perennials"
            "|training climbers|flowers from spring to frost",
        ),
        "house plants": (
            "house plants|orchids|succulents|the fern shelf|bonsai|the terrarium"
            "|kitchen window herbs|carnivorous plants",
            "repotting|light and humidity|rooting cuttings|treating scale insects"
            "|watering less|growing under lamps",
        ),
    },
    "programming": {
        "web development": (
            "web interfaces|responsive layouts|the browser|REST services|accessible forms"
            "|single-page apps|style sheets|web security",
            "semantic markup|caching responses|signing users in|testing in real browsers"
            "|rendering on the server|avoiding layout shifts",
        ),
        "machine learning": (
            "neural networks|gradient descent|decision trees|language models"
            "|recommender systems|kernel methods|Bayesian inference|reinforcement learning",
            "splitting data honestly|tuning a learning rate|reading a loss curve"
            "|regularisation|embedding words|comparing against baselines",
        ),
        "systems programming": (
            "operating systems|memory safety|compilers|lock-free queues|file systems"
            "|the network stack|embedded C|Rust ownership",
            "profiling hot loops|cache lines|parsing and code generation|handling interrupts"
            "|debugging races|designing an allocator",
        ),
    },
    "music": {
        "guitar": (
            "fingerstyle guitar|blues licks|jazz chords|the twelve-string|guitar amplifiers"
            "|flamenco|slide guitar|open tunings",
            "alternate picking|barre chords|improvising over changes|reading tablature"
            "|setting up a neck|playing by ear",
        ),
        "piano": (
            "piano sonatas|Chopin nocturnes|Bach inventions|jazz piano voicings|the pedal"
            "|sight reading|ragtime|preludes for the left hand",
            "even scales|phrasing a melody|relaxed wrists|voicing inner lines"
            "|memorising a score|practising slowly",
        ),
        "electronic music": (
            "modular synthesizers|drum machines|ambient sound|the home studio|techno"
            "|field recordings|samplers|FM synthesis",
            "patching oscillators|side-chain compression|programming beats|filter sweeps"
            "|mixing a low end|sequencing live",
        ),
    },
    "history": {
        "ancient history": (
            "Roman roads|the Athenian assembly|Egyptian tombs|Hannibal|Mesopotamian cities"
            "|Pompeii|the Silk Road|Bronze Age sailors",
            "inscriptions and coins|legions on the march|temple economies|excavated houses"
            "|the collapse of palaces|daily life of slaves",
        ),
        "medieval history": (
            "medieval monasteries|the Black Death|Viking ships|crusader castles|guild towns"
            "|the Hanseatic League|Byzantium|illuminated manuscripts",
            "feudal oaths|pilgrim routes|siege engines|charters and seals"
            "|harvests and famine|trade across the Baltic",
        ),
        "modern history": (
            "the railway age|the Cold War|the suffragettes|the Weimar years|decolonisation"
            "|the Great Depression|the space race|the Berlin Wall",
            "factory towns|diplomatic cables|voices from the archives|propaganda posters"
            "|strikes and unions|life under rationing",
        ),
    },
    "photography": {
        "portraits": (
            "studio portraits|window light|family photographs|the 85 mm lens|street portraits"
            "|the beauty dish|black-and-white faces|wedding pictures",
            "posing without stiffness|softening shadows|skin tones|talking with sitters"
            "|focusing on the eyes|working with one lamp",
        ),
        "landscapes": (
            "mountain light|long exposures|the tripod|seascapes|autumn forests|the night sky"
            "|panoramas|winter landscapes",
            "graduated filters|the golden hour|hyperfocal distance|weather and patience"
            "|composing a foreground|stacking exposures",
        ),
        "film cameras": (
            "the darkroom|medium format|35 mm film|rangefinder cameras|pinhole cameras"
            "|large-format prints|old lenses|cyanotypes",
            "developing negatives|metering by hand|loading a reel|contact sheets"
            "|toning prints|repairing shutters",
        ),
    },
    "fitness": {
        "running": (
            "the first marathon|trail running|hill repeats|barefoot running|the 5k"
            "|ultra distances|running form|tempo runs",
            "building weekly mileage|avoiding shin splints|pacing even splits"
            "|eating on the move|strengthening calves|tapering before a race",
        ),
        "strength training": (
            "the barbell|kettlebells|the deadlift|body-weight training|the home gym"
            "|pull-ups|the squat|mobility",
            "progressive overload|bracing the core|planning sets and rest|protein and recovery"
            "|protecting the lower back|training twice a week",
        ),
        "yoga": (
            "morning yoga|breathing|yin yoga|sun salutations|balance poses|meditation"
            "|yoga for stiff backs|restorative poses",
            "opening the hips|calming the mind|using blocks and straps|slow stretching"
            "|holding a pose|sleeping better",
        ),
    },
    "travel": {
        "city trips": (
            "Lisbon|Kyoto|Istanbul|Mexico City|Vienna|Marrakesh|Copenhagen|Naples",
            "markets before breakfast|neighbourhood walks|tram lines|museums in the rain"
            "|eating with locals|a long weekend",
        ),
        "hiking": (
            "the Dolomites on foot|Scottish glens|the Pyrenees|hut-to-hut walks"
            "|the Appalachian Trail|Norwegian fjords|desert canyons|island paths",
            "waymarks and maps|carrying water|mountain weather|boots and blisters"
            "|booking a refuge|crossing snow",
        ),
        "rail journeys": (
            "night trains|the Trans-Siberian|scenic railways|Interrail summers|steam railways"
            "|the Orient Express|Swiss mountain lines|slow trains",
            "sleeper cabins|changing at the border|timetables and passes|views from the window"
            "|dining cars|crossing a continent without flying",
        ),
    },
    "crafts": {
        "woodworking": (
            "hand planes|dovetail joints|the workbench|green wood|Japanese saws|turned bowls"
            "|oak chairs|carved spoons",
            "sharpening chisels|reading the grain|gluing up a panel|cutting joinery by hand"
            "|finishing with oil|seasoning timber",
        ),
        "textiles": (
            "knitted socks|natural dyes|the sewing machine|quilts|Fair Isle patterns"
            "|weaving looms|embroidery|linen shirts",
            "casting on|drafting a pattern|blocking wool|hemming by hand|choosing yarn"
            "|mending what is worn",
        ),
        "pottery": (
            "stoneware bowls|the potter's wheel|raku firing|glazes|porcelain|hand-built pots"
            "|slipware|the small kiln",
            "centring clay|trimming a foot|mixing ash glazes|firing to cone ten"
            "|pulling handles|drying without cracks",
        ),
    },
    "animals": {
        "birds": (
            "garden birds|owls|migrating geese|birdsong|birds of prey|wading birds|swifts"
            "|nest boxes",
            "telling warblers apart|recording calls|ringing and counting|feeding in winter"
            "|watching from a hide|moult and plumage",
        ),
        "dogs": (
            "puppies|sheepdogs|the nervous dog|loose-lead walking|scent work|rescue dogs"
            "|old dogs|recall training",
            "rewarding calm behaviour|socialising early|reading body language|teaching to stay"
            "|games for the nose|visits to the vet",
        ),
        "sea life": (
            "coral reefs|whales|rock pools|octopuses|seahorses|deep-sea fishes|kelp forests|sharks",
            "diving with care|tides and currents|bleaching and recovery|camouflage"
            "|following migrations|food webs of the ocean",
        ),
    },
}

# Title and text templates of each level, from easy to hard. Readers prefer different levels, and
# the wording reveals the level of a book.
LEVELS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        (
            "A first book of {subject}",
            "{subject} for beginners",
            "Getting started with {subject}",
            "An easy introduction to {subject}",
            "{subject} in ten simple steps",
        ),
        (
            "Gentle lessons on {one} and {two}, with no experience needed.",
            "Explains {one} from the very start and makes {two} feel easy.",
            "A friendly beginner's companion that covers {one} and {two}.",
        ),
    ),
    (
        (
            "A field guide to {subject}",
            "{subject}: stories and ideas",
            "The companion to {subject}",
            "A year with {subject}",
            "In praise of {subject}",
            "The joy of {subject}",
        ),
        (
            "Covers {one} and {two}, with photographs and personal notes.",
            "Essays and practical pages about {one}, {two} and why they matter.",
            "Brings together {one} and {two} in one well-illustrated volume.",
        ),
    ),
    (
        (
            "Mastering {subject}",
            "Advanced {subject}",
            "{subject}: the complete reference",
            "The expert's handbook of {subject}",
            "{subject} in depth",
        ),
        (
            "A rigorous treatment of {one} and {two} for experienced readers.",
            "Goes deep into {one}, compares methods, and settles questions about {two}.",
            "Detailed tables and case studies on {one} and {two} for specialists.",
        ),
    ),
)
