"""What a section does with fits and images: functions of tensors, with results that are named."""
