"""What a section does with fits and images: functions of them that return results with named parts."""
