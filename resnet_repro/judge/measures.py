"""What a number is: its name, unit, and which way is better."""

MEASURES = {
    "test": "Test error",
    "top5": "Top-5 error",
    "training": "Training error",
    "response": "Responses",
}
