"""Where images come from: files of strangers (`pictures`) and bundled samples; `batch` is what attacks work on."""
