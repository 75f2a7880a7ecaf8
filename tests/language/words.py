"""Words to avoid with what to write instead, and the verbs that docstrings begin with."""

from __future__ import annotations

import re

#: banned word or phrase (a regular expression, any case) -> what to write instead
BANNED = {
    r"anew": "again",
    r"beside": "next to, with, as well as",
    r"at once": "together, in one call, immediately",
    r"asked": "evaluated, requested",
    r"said": "reported, stated",
    r"bears?|borne": "tolerates",
    r"lies? on|lay on": "is mapped to, is on",
    r"drawn|drew": "sampled",
    r"spreads?": "variation, device variation, standard deviation",
    r"as (?:it|they) comes?|comes? out": "unchanged; equals",
    r"(?:is|are|was|were) worth": "the contribution or value of",
    r"what .{1,40} worth": "the contribution or value of",
    r"mend(?:s|ed|ing)?": "fix",
    r"witness(?:es)?": "reference",
    r"on the way": "name the step",
    r"by (?:itself|themselves)": "automatically, alone",
    r"of (?:its|their|one's|your|our) own": "its own X, a separate X",
    r"as it is|as they are": "unchanged",
    r"stands?": "is",
    r"unnoticed": "without an error",
    r"makes? of": "name what happens",
    r"puts? out": "outputs",
    r"in the place of": "instead of",
    r"(?:speaks?|speaking) in": "uses",
    r"contest": "comparison",
    r"depends? on the hour": "vary between runs",
    r"contrasts?": "differential conductance",
    r"operands?": "programmed weights, effective weights",
    r"sens(?:ed|es|ing)": "readout",
    r"converters?": "ADC",
    r"wired": "with wire resistance, with IR drop",
    r"settl(?:e|es|ed|ing)": "age, relax, converge",
    r"plain read-?outs?": "ideal readout",
    r"engines?": "backend",
    r"teams?": "thread pool",
    r"victims?": "target model",
    r"rooms?": "scratch buffer",
    r"trainings": "training runs, training sweep",
    r"firing": "spike statistics",
    r"likeness|alike": "similarity, similar, equal",
    r"task of the chips": "reduced task",
}
#: phrases in which a word of the list above has another sense -> that sense
LEGITIMATE = {
    r"asked for": "requested, of an input of the user",
    r"lies? on average": "position of a number",
    r"divided by itself": "arithmetic",
    r"(?:cheap|busy|good|small|large|long) as (?:it is|they are)": "a comparison",
    r"stands?[- ](?:ins?|for|alone)": "a replacement; a symbol",
    r"firing rates?": "term of spiking networks",
    r"room temperature": "a condition of measurement",
    r"rooms? for": "free space",
    r"(?:analog-to-digital|digital-to-analog|A/D|D/A) converters?": "the full name of ADC and DAC",
    r"(?:converter|engine|spread):(?= )": "a key of a YAML file, with its colon",
    r"image contrasts?|contrasts? of (?:the )?(?:images?|colou?rs?)": "difference in brightness",
    r"(?:weight|input) operands?": "the factors of a product",
    r"show converters|list trainings": "names of commands",
    r"(?:large|huge) pages|page after page": "memory of the operating system",
}
#: files in which curves, pages and characters are drawn -> words that are right there
ALLOWED_IN = {
    r"tests/cli/test_old_names": "firing trainings",
    r"imc_sim/(?:plotting|report)/|imc_sim/cli/_(?:plot|train|show)|docs/figures\.md|tests/plotting/": "drawn drew",
    r"imc_sim/data/_glyph": "drawn drew",
}
#: programming epochs were called pages; in these folders no text is about pages of documentation
NO_PAGES = r"imc_sim/(?:array|device|analog|backends|mapping)/"
#: keys of YAML files, which arguments may be named after
YAML_KEYS = {"converter", "engine"}
#: beginnings of docstrings that only readers of other docstrings understand
RIDDLES = re.compile(r"\s*(?:The same (?:of|as|for)|What|Whether)\b")

#: first words of docstrings of public functions
VERBS = set(
    re.findall(
        r"\w+",
        """Abort Accept Accumulate Adapt Add Advance Age Aggregate Align Allocate Allow Anneal Answer Append Apply
    Approximate Arrange Assemble Assert Assign Attach Attack Augment Average Balance Begin Binarize Bind
    Block Bring Broadcast Build Bundle Cache Calculate Calibrate Call Cancel Cast Center Centre Change Check
    Choose Clamp Classify Clean Clear Clip Clone Close Collect Combine Compare Compensate Compile Complete
    Compose Compress Compute Concatenate Configure Connect Constrain Construct Continue Convert Copy Correct
    Count Create Cross Cut Cycle Deal Decide Declare Decode Decompress Define Delete Derive Describe Detach
    Detect Determine Disable Discard Discharge Display Distribute Divide Download Draw Drop Dump Embed Emit
    Enable Encode End Ensure Enter Enumerate Estimate Evaluate Exchange Execute Exit Expand Explain Export
    Express Extend Extract Factor Factorise Fail Fetch Fill Filter Find Finish Fit Fix Flatten Flip Fold
    Follow Forbid Force Forget Format Forward Freeze Gather Generate Get Give Group Guess Guard Halve Hand
    Handle Hash Have Hold Identify Import Improve Include Increase Infer Initialise Initialize Insert
    Install Integrate Interpolate Interrupt Invert Invoke Iterate Join Keep Label Launch Lay Learn Leave Let
    Limit List Load Locate Lock Log Look Lower Make Map Mark Mask Match Measure Merge Mirror Mix Model
    Modify Move Multiply Name Narrow Normalise Normalize Number Open Order Overwrite Pack Pad Parse
    Partition Pass Pay Perform Permute Pick Place Plan Plot Pool Predict Prepare Present Preserve Print
    Process Produce Program Project Propagate Prove Provide Prune Put Quantise Quantize Query Raise Rank
    Read Rebuild Receive Recompute Record Reduce Refer Refill Refresh Refuse Register Reject Release Relax
    Remember Remove Rename Render Repeat Replace Replay Report Represent Reproduce Request Require Resample
    Rescale Reserve Reset Reshape Resolve Restore Restrict Resume Retain Retry Return Reverse Rewrite Rotate
    Round Run Sample Save Scale Scan Schedule Score Search See Seed Select Send Separate Serialise Serialize
    Serve Set Share Sharpen Shift Show Shuffle Shut Sign Simulate Skip Slice Smooth Snap Solve Sort Spawn
    Split Stack Standardise Start State Step Stop Store Stream Strip Submit Subtract Sum Summarise Summarize
    Suppress Swap Switch Synchronise Take Tell Test Threshold Time Toggle Track Train Transfer Transform
    Translate Transpose Trim Truncate Try Turn Undo Unfold Unify Unpack Update Upload Use Validate Verify
    View Visit Vote Wait Walk Warn Weigh Widen Wrap Write Yield Zero""",
    )
)
