"""The class lists of the standard splits, and what else a complete copy has."""

from sib_jax.data.published import StandardSplit


def _words(text: str) -> tuple[str, ...]:
    return tuple(sorted(text.split()))


# ImageNet's wnids; the split of Ravi and Larochelle (2017), "Optimization as a Model for Few-Shot
# Learning": github.com/twitter-research/meta-learning-lstm, data/miniImagenet/{train,val,test}.csv.
MINI_IMAGENET = StandardSplit(
    title="mini-ImageNet",
    classes={
        "train": _words("""
    n01532829 n01558993 n01704323 n01749939 n01770081 n01843383 n01910747 n02074367 n02089867
    n02091831 n02101006 n02105505 n02108089 n02108551 n02108915 n02111277 n02113712 n02120079
    n02165456 n02457408 n02606052 n02687172 n02747177 n02795169 n02823428 n02966193 n03017168
    n03047690 n03062245 n03207743 n03220513 n03337140 n03347037 n03400231 n03476684 n03527444
    n03676483 n03838899 n03854065 n03888605 n03908618 n03924679 n03998194 n04067472 n04243546
    n04251144 n04258138 n04275548 n04296562 n04389033 n04435653 n04443257 n04509417 n04515003
    n04596742 n04604644 n04612504 n06794110 n07584110 n07697537 n07747607 n09246464 n13054560
    n13133613
        """),
        "val": _words("""
    n01855672 n02091244 n02114548 n02138441 n02174001 n02950826 n02971356 n02981792 n03075370
    n03417042 n03535780 n03584254 n03770439 n03773504 n03980874 n09256479
        """),
        "test": _words("""
    n01930112 n01981276 n02099601 n02110063 n02110341 n02116738 n02129165 n02219486 n02443484
    n02871525 n03127925 n03146219 n03272010 n03544143 n03775546 n04146614 n04149813 n04418357
    n04522168 n07613480
        """),
    },
    images=600,
    obtain=(
        "make it from ImageNet's training images (image-net.org, free for research after "
        "registration) by the lists in github.com/twitter-research/meta-learning-lstm, folder "
        "data/miniImagenet; github.com/yaoyao-liu/mini-imagenet-tools does that"
    ),
)

# Bertinetto et al. (2019), "Meta-learning with differentiable closed-form solvers": classes of
# CIFAR-100, their names as CIFAR-100's own file `meta` has them.
CIFAR_FS = StandardSplit(
    title="CIFAR-FS",
    classes={
        "train": _words("""
    apple aquarium_fish bear bee bottle bowl boy bridge bus can castle caterpillar chair clock
    cloud cockroach couch cup dinosaur dolphin elephant forest girl hamster house kangaroo
    keyboard lawn_mower lion lizard lobster mountain mouse mushroom oak_tree orange orchid
    palm_tree pear pine_tree plate porcupine possum rabbit raccoon ray road seal shrew skunk
    skyscraper snake spider squirrel streetcar sunflower tank tiger train trout tulip turtle
    willow_tree wolf
        """),
        "val": _words("""
    beaver beetle butterfly camel cattle crab crocodile flatfish lamp maple_tree motorcycle
    otter sea shark television tractor
        """),
        "test": _words("""
    baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose snail
    sweet_pepper table telephone wardrobe whale woman worm
        """),
    },
    images=600,
    obtain=(
        "download CIFAR-100 for Python (www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz) and "
        "give that file as --data_dir"
    ),
)

# Alphabets of Lake et al. (2015), "Human-level concept learning through probabilistic program
# induction", with their numbers of characters.
OMNIGLOT_BACKGROUND = {
    "Alphabet_of_the_Magi": 20,
    "Anglo-Saxon_Futhorc": 29,
    "Arcadian": 26,
    "Armenian": 41,
    "Asomtavruli_(Georgian)": 40,
    "Balinese": 24,
    "Bengali": 46,
    "Blackfoot_(Canadian_Aboriginal_Syllabics)": 14,
    "Braille": 26,
    "Burmese_(Myanmar)": 34,
    "Cyrillic": 33,
    "Early_Aramaic": 22,
    "Futurama": 26,
    "Grantha": 43,
    "Greek": 24,
    "Gujarati": 48,
    "Hebrew": 22,
    "Inuktitut_(Canadian_Aboriginal_Syllabics)": 16,
    "Japanese_(hiragana)": 52,
    "Japanese_(katakana)": 47,
    "Korean": 40,
    "Latin": 26,
    "Malay_(Jawi_-_Arabic)": 40,
    "Mkhedruli_(Georgian)": 41,
    "N_Ko": 33,
    "Ojibwe_(Canadian_Aboriginal_Syllabics)": 14,
    "Sanskrit": 42,
    "Syriac_(Estrangelo)": 23,
    "Tagalog": 17,
    "Tifinagh": 55,
}
OMNIGLOT_EVALUATION = {
    "Angelic": 20,
    "Atemayar_Qelisayer": 26,
    "Atlantean": 26,
    "Aurek-Besh": 26,
    "Avesta": 26,
    "Ge_ez": 26,
    "Glagolitic": 45,
    "Gurmukhi": 45,
    "Kannada": 41,
    "Keble": 26,
    "Malayalam": 47,
    "Manipuri": 40,
    "Mongolian": 30,
    "Old_Church_Slavonic_(Cyrillic)": 45,
    "Oriya": 46,
    "Sylheti": 28,
    "Syriac_(Serto)": 23,
    "Tengwar": 25,
    "Tibetan": 42,
    "ULOG": 26,
}
_OMNIGLOT_VAL = _words(
    "Armenian Bengali Early_Aramaic Hebrew Mkhedruli_(Georgian)",
)
_OMNIGLOT_TRAIN = 1200  # characters for training and validation, in the order of the lists


def _omniglot() -> dict[str, tuple[str, ...]]:
    """The split of Snell et al. (2017), "Prototypical Networks for Few-shot Learning".

    After Vinyals et al. (2016), 1,200 characters are for training and 423 for testing: the first
    ones, background before evaluation, alphabets and characters in order. Five background alphabets
    of the 1,200 characters are for validation.
    """
    characters = [
        f"{alphabet}/character{i:02}"
        for alphabets in (OMNIGLOT_BACKGROUND, OMNIGLOT_EVALUATION)
        for alphabet, count in sorted(alphabets.items())
        for i in range(1, count + 1)
    ]
    seen, test = characters[:_OMNIGLOT_TRAIN], characters[_OMNIGLOT_TRAIN:]
    val = [name for name in seen if name.split("/")[0] in _OMNIGLOT_VAL]
    train = [name for name in seen if name not in val]
    return {"train": tuple(sorted(train)), "val": tuple(sorted(val)), "test": tuple(sorted(test))}


OMNIGLOT = StandardSplit(
    title="Omniglot",
    classes=_omniglot(),
    images=20,
    obtain=(
        "download images_background.zip and images_evaluation.zip from "
        "github.com/brendenlake/omniglot, folder python, and give their directory as --data_dir"
    ),
)
